"""Whether advice held: its settings beside the run's own and beside control arms, over several seeds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gradclip.advise.evidence import Evidence
from gradclip.advise.overrides import base_overrides, merge, parameters_of
from gradclip.advise.suggestions import Suggestion, controls
from gradclip.compare.statistics import difference_p_value, probability_of_improvement, seeds_needed
from gradclip.compare.summary import LEVEL, GroupSummary, Metric
from gradclip.compare.tell import tell_error, tell_seeds

AS_IT_WAS, ADVISED = "as it was", "advised"


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
    different = {tuple(parameters_of(arm.overrides).items()): arm for arm in reversed(found)}
    return list(reversed(different.values()))


def verdicts(summaries: dict[str, GroupSummary], metric: Metric) -> Iterator[str]:
    """Say whether the advice held, and whether it was the clipping that helped or only a smaller step.

    Args:
        summaries: of the arms, by their names.
        metric: what they are compared by.
    """
    was = summaries[AS_IT_WAS]
    if ADVISED in summaries:
        told, advised = _against(summaries[ADVISED], was), summaries[ADVISED]
        held = {1: "The advice held", 0: "It cannot be said whether the advice held", -1: "The advice did not hold"}
        medians = f"median {_median(advised, metric)} as advised, {_median(was, metric)} as it was"
        yield f"{held[told[0]]}: {medians}; {told[1]}."
    for name, control in summaries.items():
        if name in {AS_IT_WAS, ADVISED}:
            continue
        better, told_how = _against(was, control)
        meaning = {
            1: "the clipping does more than this",
            0: "nothing shows that the clipping does more than this",
            -1: "this does better than the clipping",
        }
        medians = f"median {_median(control, metric)} beside {_median(was, metric)} as it was"
        yield f"Control, {name}: {medians}; {told_how}: {meaning[better]}."


def _median(one: GroupSummary, metric: Metric) -> str:
    return tell_error(one.median.value, metric)


def _against(one: GroupSummary, other: GroupSummary) -> tuple[int, str]:
    """1 if the first is better, -1 if it is worse, 0 if the data cannot tell; and the numbers."""
    chance = probability_of_improvement(one.errors, other.errors)
    p_value = difference_p_value(one.errors, other.errors)
    told = f"probability of improvement {chance.value:.2f} ({chance.low:.2f} to {chance.high:.2f}), p {p_value:.2g}"
    if p_value < LEVEL:
        return (1 if chance.value > 0.5 else -1), told
    return 0, f"{told}, {tell_seeds(seeds_needed(chance.value), len(one.errors))}"
