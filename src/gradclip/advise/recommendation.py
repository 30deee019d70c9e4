"""The last sentence of a confirmation: which settings to use."""

from collections.abc import Iterator, Sequence
from math import isinf

from gradclip.advise.arms import ADVISED, ORIGINAL, Arm
from gradclip.advise.confirmation import Confirmation, learned
from gradclip.advise.verdicts import WITHIN
from gradclip.compare.report import format_error
from gradclip.compare.summary import GroupSummary
from gradclip.config.overrides import setting_of
from gradclip.scores import LoggedScore


def recommended(found: Confirmation) -> str | None:
    """Return the name of the arm to use; None if most runs of every arm learn nothing.

    Only arms in which at least half of the runs learned are considered. If the advice is not one of them, the best arm
    is used. Otherwise an arm that is shown to be better than the advice is used, the best one if there are several;
    else the original settings, unless they are shown to be worse than the advice; else the advice.
    """
    trained = {name: arm.median.value for name, arm in found.summaries.items() if learned(arm)}
    if not trained:
        return None
    reference = found.reference.group.label
    if reference not in trained:
        return min(trained, key=trained.__getitem__)
    better = [one.other.group.label for one in found.of_reference if one.verdict == "worse"]
    if candidates := [name for name in better if name in trained]:
        return min(candidates, key=trained.__getitem__)
    if reference == ORIGINAL or ORIGINAL not in trained or found.against(ORIGINAL).verdict == "better":
        return reference
    return ORIGINAL


def conclusion(found: Confirmation, arms: Sequence[Arm]) -> tuple[str, Arm | None]:
    """Return a sentence with the recommendation, and the recommended arm; None if there is none."""
    chosen = recommended(found)
    if chosen is None:
        return "Use none of these: most runs of every arm learn nothing. Check the data and the network first.", None
    by_name = {arm.name: arm for arm in arms}
    base, overrides = by_name[ORIGINAL].overrides, by_name[chosen].overrides
    changes = [text for text in overrides if text not in base or setting_of(text) == "clip"]
    name = "" if chosen == ADVISED else f" ({chosen})"
    what = "Keep the original settings" if chosen == ORIGINAL else f"Use {' '.join(changes)}{name}"
    reasons = "; ".join([_result(found, found.summaries[chosen]), *_reasons(found, chosen)])
    return f"{what}: {reasons}.", by_name[chosen]


def _result(found: Confirmation, arm: GroupSummary) -> str:
    original, split = found.summaries[ORIGINAL], found.score.split_of(found.metric.name)
    value = format_error(arm.median.value, found.metric)
    is_logged = isinstance(found.score, LoggedScore)  # by a module, which may measure it on any examples
    text = f"median {found.score.name} {value}" if is_logged else f"median {value} on {split} rows"
    if arm.test_median:
        text += f" ({format_error(arm.test_median.value, found.metric)} on test rows)"
    if arm is original:
        return text
    before = original.median.value
    was = "diverged" if isinf(before) else f"reached {format_error(before, found.metric)}"
    return f"{text}, while the original settings {was}"


def _reasons(found: Confirmation, chosen: str) -> Iterator[str]:
    """Yield how the chosen arm compares with the advice, or the advice with the other arms."""
    seeds, reference = found.seeds, found.reference
    if chosen != reference.group.label:
        if not learned(reference):
            yield "most runs with the advised settings learn nothing"
            return
        yield {
            "worse": "shown to be better than the advice",
            "as good": f"the advice is as good ({WITHIN})",
        }.get(found.against(chosen).verdict, f"not distinguishable from the advice with {seeds} seeds")
        return
    others = {one.other.group.label: one.verdict for one in found.of_reference if learned(one.other)}
    if alike := [name for name, verdict in others.items() if verdict == "as good"]:
        yield f"as good ({WITHIN}): {', '.join(alike)}"
    if unknown := [name for name, verdict in others.items() if verdict == "inconclusive"]:
        yield f"not distinguishable with {seeds} seeds: {', '.join(unknown)}"
