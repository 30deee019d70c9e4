"""Advice in words, with the commands to type."""

from collections.abc import Sequence

from gradclip.advise.confirmation import Arm
from gradclip.advise.evidence import Evidence
from gradclip.advise.findings import findings
from gradclip.advise.overrides import base_overrides, command, merge
from gradclip.advise.suggestions import Suggestion, controls, suggest


def advice_message(evidence: Evidence, probe: Evidence | None, seeds: int) -> str:
    """What was found, what to try and why, each with its command.

    Args:
        evidence: of the run.
        probe: of a short run that measured norms, where there was one.
        seeds: over how many the commands run.
    """
    base, advice, arms = base_overrides(evidence.run), suggest(probe or evidence, evidence), controls(evidence)
    many, known = range(seeds), {one.changes for one in advice}
    lines = ["What was seen:", *(f"  {line}" for line in findings(evidence, probe))]
    lines += ["", "What to try, the first being the advice:"] if advice else ["", "Nothing to try can be told from it."]
    lines += [line for one in advice for line in _suggestion_lines(one, base, many)]
    if arms:
        above = [f"  {one.name} (above)" for one in arms if one.changes in known]
        lines += ["", "Is it the clipping, or only a smaller step? Control arms to run beside it:", *above]
        others = [_as_it_was(evidence), *(one for one in arms if one.changes not in known)]
        lines += [line for one in others for line in _suggestion_lines(one, base, many)]
    return "\n".join([*lines, *(["", _confirmation(bool(arms))] if advice else [])])


def _confirmation(controlled: bool) -> str:
    others = "the run as it was, the control arms" if controlled else "the run as it was"
    return f"With confirm=true the advice is run beside {others}, and itself unclipped at a smaller rate, and compared."


def arm_message(arm: Arm, seeds: range) -> str:
    """What is being trained."""
    return f"{arm.name}: {command(arm.overrides, seeds)}"


def _suggestion_lines(one: Suggestion, base: Sequence[str], seeds: range) -> list[str]:
    return [f"  {one.name}: {one.why}", f"    {command(merge(base, one.changes), seeds)}"]


def _as_it_was(evidence: Evidence) -> Suggestion:
    return Suggestion("as it was", (), f"clip={evidence.setting('clip.name')} at {evidence.setting('clip.value')}")
