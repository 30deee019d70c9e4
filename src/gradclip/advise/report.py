"""Advice on a stored run as text, with commands to run."""

from collections.abc import Sequence

from gradclip.advise.arms import ORIGINAL, Arm, controls
from gradclip.config.overrides import merge, train_command
from gradclip.diagnosis.diagnose import diagnose_evidence
from gradclip.diagnosis.evidence import ENDED_WELL, Evidence
from gradclip.diagnosis.remedy import Remedy
from gradclip.formatting import printable


def advice_message(evidence: Evidence, probe: Evidence | None, seeds: int) -> str:
    """Return the remedies, the findings and the control arms as text, with commands.

    Args:
        evidence: evidence from the run.
        probe: evidence from a probe; None if there was none.
        seeds: number of seeds in each command.
    """
    diagnosis = diagnose_evidence(evidence, "command", probe)
    training, advice, arms = evidence.training, diagnosis.remedies, controls(evidence)
    base = training.command or ()
    seed_range, known = range(seeds), {remedy.changes for remedy in advice}
    if advice:
        _, command = _remedy_lines(advice[0], base, seed_range)
        lines = [f"Try {advice[0].what}:", command, f"  Why: {advice[0].why}."]
    else:
        lines = [nothing_to_try(evidence)]
    lines += ["", "Findings:", *(f"  {finding}" for finding in diagnosis.findings)]
    if advice[1:]:
        lines += ["", "What else to try:"]
        lines += [line for remedy in advice[1:] for line in _remedy_lines(remedy, base, seed_range)]
    if arms:
        lines += ["", "Is it the clipping, or only a smaller step? Control arms to compare with:"]
        lines += [f"  {arm.what} (see above)" for arm in arms if arm.changes in known]
        original = Remedy(ORIGINAL, f"clip={training.clip} at {training.threshold:g}")
        others = [original, *(arm for arm in arms if arm.changes not in known)]
        lines += [line for arm in others for line in _remedy_lines(arm, base, seed_range)]
    if any(remedy.has_one_setting for remedy in advice):
        lines += [
            "",
            "confirm=true compares the advice with the original settings and the plain remedies over several seeds.",
        ]
    if diagnosis.unknown:
        lines += ["", "Not known from this run:", *(f"  {what}" for what in diagnosis.unknown)]
    return "\n".join(map(printable, lines))  # settings and names come from the store


def nothing_to_try(evidence: Evidence) -> str:
    """Return why nothing is advised."""
    outcome = evidence.training.outcome
    if outcome == "diverged":
        return "Nothing to suggest: none of the known remedies helps. The findings list what was tried."
    if outcome in ENDED_WELL and evidence.is_calm:
        return f"Nothing to change in the clipping: the run {outcome}, and its gradients neither exploded nor spiked."
    return "Nothing to try: no known remedy applies to the findings."


def _remedy_lines(remedy: Remedy, base: Sequence[str], seeds: range) -> list[str]:
    return [f"  {remedy.what}: {remedy.why}", f"    {train_command(merge(base, remedy.changes), seeds=seeds)}"]


def arms_message(arms: Sequence[Arm], seeds: range) -> str:
    """Return the name of each arm and the command that trains it."""
    return "\n".join(printable(f"{arm.name}: {train_command(arm.overrides, seeds=seeds)}") for arm in arms)
