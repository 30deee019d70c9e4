"""Advice as text, with the commands to type."""

from collections.abc import Sequence

from gradclip.advise.confirmation import ORIGINAL, Arm
from gradclip.advise.evidence import Evidence
from gradclip.advise.findings import findings
from gradclip.advise.suggestions import Suggestion, controls, suggest
from gradclip.config.overrides import merge, train_command
from gradclip.formatting import printable


def advice_message(evidence: Evidence, probe: Evidence | None, seeds: int) -> str:
    """Return findings, suggestions and control arms, each with its command.

    Args:
        evidence: of the run.
        probe: of a short run that measured norms, if there was one.
        seeds: number of seeds in each command.
    """
    base, advice, arms = evidence.overrides, suggest(probe or evidence, evidence), controls(evidence)
    seed_range, known = range(seeds), {suggestion.changes for suggestion in advice}
    lines = ["Findings:", *(f"  {line}" for line in findings(evidence, probe))]
    lines += ["", "What to try (the first is the advice):" if advice else "The evidence suggests nothing to try."]
    lines += [line for suggestion in advice for line in _suggestion_lines(suggestion, base, seed_range)]
    if arms:
        lines += ["", "Is it the clipping, or only a smaller step? Control arms to compare with:"]
        lines += [f"  {arm.name} (see above)" for arm in arms if arm.changes in known]
        why = f"clip={evidence.setting('clip.name')} at {evidence.setting('clip.value')}"
        others = [Suggestion(ORIGINAL, (), why), *(arm for arm in arms if arm.changes not in known)]
        lines += [line for arm in others for line in _suggestion_lines(arm, base, seed_range)]
    if advice:
        compared = "the original settings, the control arms" if arms else "the original settings"
        lines += [
            "",
            f"confirm=true trains the advice, {compared} and the advice without clipping at a smaller learning rate, "
            "and compares them.",
        ]
    return "\n".join(map(printable, lines))  # settings and names come from the store


def _suggestion_lines(suggestion: Suggestion, base: Sequence[str], seeds: range) -> list[str]:
    return [
        f"  {suggestion.name}: {suggestion.why}",
        f"    {train_command(merge(base, suggestion.changes), seeds=seeds)}",
    ]


def arm_message(arm: Arm, seeds: range) -> str:
    """Return the name of an arm and the command that trains it."""
    return printable(f"{arm.name}: {train_command(arm.overrides, seeds=seeds)}")
