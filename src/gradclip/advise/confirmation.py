"""Whether advice held: its settings beside the run's own and beside control arms, over several seeds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gradclip import keys
from gradclip.advise.evidence import Evidence
from gradclip.advise.overrides import base_overrides, merge, parameters_of
from gradclip.advise.suggestions import SMALLER_STEP, Suggestion, controls, same_step
from gradclip.compare.report import format_error, format_seeds
from gradclip.compare.statistics import difference_p_value, median, probability_of_improvement, seeds_needed
from gradclip.compare.summary import LEVEL, GroupSummary, Metric

AS_IT_WAS, ADVISED, ADVISED_STEP = "as it was", "advised", "advised, but unclipped at a smaller rate"
MORE_THAN_A_CONTROL = {
    1: "the clipping does more",
    0: "nothing shows that the clipping does more",
    -1: "the clipping does less",
}
ONLY_A_STEP = {
    1: "it is the clipping, not only a smaller step",
    0: "nothing shows that it is more than a smaller step",
    -1: "it is only a smaller step, and a smaller rate does that better",
}


@dataclass(frozen=True)
class Arm:
    """One of the settings that are compared.

    Attributes:
        name: what it is there for.
        overrides: of the command.
    """

    name: str
    overrides: tuple[str, ...]


def arms(evidence: Evidence, advice: Sequence[Suggestion]) -> list[Arm]:
    """The run's own settings, the advised ones, and the control arms of a clipped run; each settings once."""
    base = base_overrides(evidence.run)
    changed = [(ADVISED, advice[0].changes), *((control.name, control.changes) for control in controls(evidence))]
    found = [Arm(AS_IT_WAS, tuple(base)), *(Arm(name, tuple(merge(base, changes))) for name, changes in changed)]
    return [arm for place, arm in enumerate(found) if not any(_are_same(arm, other) for other in found[:place])]


def control_of_advice(advised: Evidence, known: Sequence[Arm]) -> list[Arm]:
    """The advised settings with a smaller rate in place of their clipping; none where that is one of the known arms.

    Args:
        advised: of a run with the advised settings, whose steps tell the rate.
        known: the other arms.
    """
    arm = Arm(ADVISED_STEP, tuple(merge(base_overrides(advised.run), same_step(advised).changes)))
    return [arm] if advised.clips and not any(_are_same(arm, other) for other in known) else []


def _are_same(one: Arm, other: Arm) -> bool:
    """Whether two arms train alike; a threshold says nothing where nothing is clipped."""
    both = [parameters_of(arm.overrides) for arm in (one, other)]
    for parameters in both:
        if parameters["clip.name"] == "none":
            del parameters["clip.value"]
    return both[0] == both[1]


def verdicts(summaries: Mapping[str, GroupSummary], metric: Metric) -> Iterator[str]:
    """Say whether the advice held, and whether it is the clipping that helps or only a smaller step.

    Args:
        summaries: of the arms, by their names.
        metric: what they are compared by.
    """
    was = summaries[AS_IT_WAS]
    if ADVISED in summaries:
        advised = summaries[ADVISED]
        better, told = _against(advised, was)
        held = {1: "The advice held", 0: "It cannot be said whether the advice held", -1: "The advice did not hold"}
        stalls = better > 0 and 2 * advised.count("learned") < len(advised.errors)
        verdict = "The advice did not hold, most of its runs learn nothing" if stalls else held[better]
        yield f"{verdict}: median {_median(advised, metric)} as advised, {_median(was, metric)} as it was; {told}."
        if better < 0:
            yield from _overfitting(advised, was, metric)
    for name, control in summaries.items():
        if name not in {AS_IT_WAS, ADVISED}:
            clipped = ADVISED if name == ADVISED_STEP else AS_IT_WAS
            better, told = _against(summaries[clipped], control)
            medians = f"median {_median(summaries[clipped], metric)} against {_median(control, metric)}"
            meaning = ONLY_A_STEP if name in {SMALLER_STEP, ADVISED_STEP} else MORE_THAN_A_CONTROL
            yield f"{clipped.capitalize()} against {name}: {medians}; {told}: {meaning[better]}."


def _overfitting(advised: GroupSummary, was: GroupSummary, metric: Metric) -> Iterator[str]:
    """A word on settings that train better and predict worse."""
    score = next((score for score in keys.SCORES.values() if score.final_test == metric.name), None)
    if score is None:
        return
    train = Metric(score.final_train, metric.sign, score.train)
    new, old = (median(train.errors(one.group.runs)).value for one in (advised, was))
    if new < old:
        yield (
            f"On the training examples it is better, median {format_error(new, metric)} as advised and "
            f"{format_error(old, metric)} as it was: it trains better and overfits."
        )


def _median(one: GroupSummary, metric: Metric) -> str:
    return format_error(one.median.value, metric)


def _against(one: GroupSummary, other: GroupSummary) -> tuple[int, str]:
    """1 if the first is better, -1 if it is worse, 0 if the data cannot tell; and the numbers."""
    chance = probability_of_improvement(one.errors, other.errors)
    p_value = difference_p_value(one.errors, other.errors)
    told = f"probability of improvement {chance.value:.2f} ({chance.low:.2f} to {chance.high:.2f}), p {p_value:.2g}"
    if p_value < LEVEL:
        return (1 if chance.value > 0.5 else -1), told
    return 0, f"{told}, {format_seeds(seeds_needed(chance.value), len(one.errors))}"
