"""Confirmation of advice: the advised settings against the original ones and control arms, over several seeds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gradclip import keys
from gradclip.compare.metric import Metric
from gradclip.compare.report import format_error
from gradclip.compare.statistics import median
from gradclip.compare.summary import GroupSummary, compare_with
from gradclip.config.composition import compose_config
from gradclip.config.overrides import merge
from gradclip.config.schema import flatten
from gradclip.diagnosis.evidence import Evidence
from gradclip.diagnosis.remedy import Remedy, normalize
from gradclip.diagnosis.suggestions import (
    UNCLIPPED_EQUIVALENT,
    UNCLIPPED_SAME_RATE,
    can_scale_target,
    scaled_target,
    unclipped,
    unclipped_equivalent,
)

ORIGINAL, ADVISED = "original", "advised"
ADVISED_UNCLIPPED = {  # by what its learning rate is
    UNCLIPPED_EQUIVALENT: "advised, but unclipped at a smaller learning rate",
    UNCLIPPED_SAME_RATE: "advised, but unclipped",
}

OF_STEP_SIZE = {UNCLIPPED_EQUIVALENT, ADVISED_UNCLIPPED[UNCLIPPED_EQUIVALENT]}  # arms with steps as long, unclipped

# By the sign of the significant difference; 0 where there is none.
ADVICE_VERDICTS = {
    1: "The advice helped",
    0: "It is uncertain whether the advice helped",
    -1: "The advice made it worse",
}
CONTROL_VERDICTS = {
    1: "clipping does more",
    0: "no evidence that clipping does more",
    -1: "clipping does less",
}
STEP_SIZE_VERDICTS = {
    1: "clipping does more than shorten the steps",
    0: "no evidence that clipping does more than shorten the steps",
    -1: "clipping only shortens the steps, and a smaller learning rate does that better",
}


@dataclass(frozen=True)
class Arm:
    """Settings that are compared with others.

    Attributes:
        name: its role in the comparison.
        overrides: of the command that trains it.
    """

    name: str
    overrides: tuple[str, ...]


def arms(evidence: Evidence, advice: Sequence[Remedy]) -> list[Arm]:
    """Return the original and the advised settings and, for a clipped run, the control arms, without duplicates."""
    base = evidence.training.command or ()
    changed = [(ADVISED, advice[0].changes), *((control.what, control.changes) for control in controls(evidence))]
    found = [Arm(ORIGINAL, tuple(base)), *(Arm(name, tuple(merge(base, changes))) for name, changes in changed)]
    return [arm for index, arm in enumerate(found) if not any(_are_equal(arm, other) for other in found[:index])]


def controls(evidence: Evidence) -> list[Remedy]:
    """Return control arms that show whether a clipped run needs its clipping, or only smaller steps."""
    if not evidence.clips:
        return []
    arms = [unclipped_equivalent(evidence)]
    if evidence.training.clip == "norm":
        why = "all steps have the same length; small gradients are enlarged"
        arms.append(Remedy("always normalized", why, normalize(f"{evidence.training.threshold}")))
    if can_scale_target(evidence):
        arms.append(unclipped(scaled_target(evidence.target_max_abs)))
    return [arm for arm in arms if not arm.changes_any(evidence.training.fixed_groups)]


def control_of_advice(advised: Evidence, known: Sequence[Arm]) -> list[Arm]:
    """Return the advised settings with a smaller learning rate in place of clipping, unless a known arm equals them.

    Args:
        advised: of a run with the advised settings, from whose steps the learning rate is derived.
        known: the other arms.
    """
    equivalent = unclipped_equivalent(advised)
    if equivalent.changes_any(advised.training.fixed_groups):
        return []
    arm = Arm(ADVISED_UNCLIPPED[equivalent.what], tuple(merge(advised.training.command or (), equivalent.changes)))
    return [arm] if advised.clips and not any(_are_equal(arm, other) for other in known) else []


def _are_equal(arm: Arm, other: Arm) -> bool:
    """Whether two arms train alike; a threshold has no effect where nothing is clipped."""
    both = [flatten(compose_config(overrides)) for overrides in (arm.overrides, other.overrides)]
    for parameters in both:
        if parameters["clip.name"] == "none":
            del parameters["clip.value"]
    return both[0] == both[1]


def verdicts(summaries: Mapping[str, GroupSummary], metric: Metric) -> Iterator[str]:
    """Yield sentences: whether the advice helped, and whether clipping does more than shorten the steps.

    Args:
        summaries: of the arms, by name.
        metric: by which they are compared.
    """
    original = summaries[ORIGINAL]
    if ADVISED in summaries:
        yield from _advice_verdict(summaries[ADVISED], original, metric)
    for name, control in summaries.items():
        if name not in {ORIGINAL, ADVISED}:
            clipped = ADVISED if name in ADVISED_UNCLIPPED.values() else ORIGINAL
            sign, numbers = _difference(summaries[clipped], control)
            medians = f"median {_median(summaries[clipped], metric)} vs. {_median(control, metric)}"
            meaning = STEP_SIZE_VERDICTS if name in OF_STEP_SIZE else CONTROL_VERDICTS
            yield f"{clipped.capitalize()} vs. {name}: {medians}; {numbers}: {meaning[sign]}."


def _advice_verdict(advised: GroupSummary, original: GroupSummary, metric: Metric) -> Iterator[str]:
    sign, numbers = _difference(advised, original)
    stalls = sign > 0 and 2 * (advised.count("learned") + advised.count("finished")) < len(advised.errors)
    verdict = "The advice did not help, most of its runs learn nothing" if stalls else ADVICE_VERDICTS[sign]
    yield f"{verdict}: median {_median(advised, metric)} advised, {_median(original, metric)} original; {numbers}."
    if sign < 0:
        yield from _overfitting(advised, original, metric)


def _overfitting(advised: GroupSummary, original: GroupSummary, metric: Metric) -> Iterator[str]:
    """Point out settings that are better on the training examples and worse on the test examples."""
    score = next((score for score in keys.SCORES.values() if score.final_test == metric.name), None)
    if score is None:
        return
    train = Metric(score.final_train, metric.sign, score.train)
    new, old = (median(train.errors(arm.group.runs)).value for arm in (advised, original))
    if new < old:
        yield (
            f"On the training examples it is better, median {format_error(new, metric)} advised and "
            f"{format_error(old, metric)} original: it trains better and overfits."
        )


def _median(arm: GroupSummary, metric: Metric) -> str:
    return format_error(arm.median.value, metric)


def _difference(arm: GroupSummary, other: GroupSummary) -> tuple[int, str]:
    """Return 1 if the first arm is significantly better, -1 if worse, 0 otherwise; and the numbers as text."""
    (pair,) = compare_with(arm, [other])
    value, low, high = pair.improvement
    if pair.better is not arm:
        value, low, high = 1 - value, 1 - high, 1 - low
    text = f"probability of improvement {value:.2f} ({low:.2f} to {high:.2f}), p {pair.p_value:.2g}"
    return (0 if not pair.significant else 1 if pair.better is arm else -1), text
