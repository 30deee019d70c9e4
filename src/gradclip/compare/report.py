"""A comparison in tables and words."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, isinf

import numpy as np

from gradclip.compare.grouping import Grouping
from gradclip.compare.statistics import POWER, Estimate
from gradclip.compare.summary import LEVEL, MOST_PAIRED, OUTCOMES, GroupSummary, Metric, Pair
from gradclip.formatting import Table
from gradclip.tracking.stored_runs import Selection

LARGE = 100  # from which on decimals would be more than three digits
FEW_RUNS = 5  # of a group, below which its numbers say little
MOST_NAMED = 3  # groups that cannot be told from the best; of the others it is said how many there are


@dataclass(frozen=True)
class Comparison:
    """All that a comparison found.

    Attributes:
        selection: the runs that were asked for.
        grouping: how they were grouped.
        metric: what they were compared by.
        target: the score whose first epoch was looked for.
        summaries: the groups, best first.
        pairs: every two of the best groups.
    """

    selection: Selection
    grouping: Grouping
    metric: Metric
    target: float
    summaries: list[GroupSummary]
    pairs: list[Pair]


def tables(comparison: Comparison, every_pair: bool = False) -> list[Table]:
    """Groups, and pairs of them where there are any: those of the best group, or every pair."""
    best = comparison.summaries[0]
    pairs = [pair for pair in comparison.pairs if every_pair or best in (pair.better, pair.worse)]
    return [group_table(comparison), *([pair_table(pairs)] if pairs else [])]


def group_table(comparison: Comparison) -> Table:
    """One row for each group; intervals of 95% in brackets."""
    metric, summaries = comparison.metric, comparison.summaries
    runs = sum(len(one.errors) for one in summaries)
    outcomes = [outcome for outcome in OUTCOMES if any(one.count(outcome) for one in summaries)]
    target = [f"epochs to {format_error(metric.sign * comparison.target, metric)}"] if metric.curve else []
    columns = ("runs", "n", "median", "middle half's mean", *outcomes, *target, "clipped", "seconds")
    rows = [_group_row(one, metric, outcomes) for one in summaries]
    return Table(f"{metric.name} of {runs} runs: {comparison.selection.title}", columns, rows)


def _group_row(one: GroupSummary, metric: Metric, outcomes: Sequence[str]) -> tuple[str, ...]:
    return (
        one.group.label,
        str(len(one.errors)),
        format_estimate(one.median, metric),
        format_estimate(one.interquartile_mean, metric),
        *(format_share(one, outcome) for outcome in outcomes),
        *([format_epochs(one.epochs)] if metric.curve else []),
        f"{one.clip_fraction:.0%}" if isfinite(one.clip_fraction) else "",
        f"{one.seconds:.3g}" if isfinite(one.seconds) else "",
    )


def format_estimate(estimate: Estimate, metric: Metric) -> str:
    """A value with its interval in the metric's own direction, where it has one."""
    told = format_error(estimate.value, metric)
    if np.isnan(estimate.low) or estimate.low == estimate.high:
        return told
    low, high = (format_error(end, metric) for end in (estimate.low, estimate.high)[:: metric.sign])
    return f"{told} ({low} to {high})"


def format_error(error: float, metric: Metric) -> str:
    """An error as the metric's value; ``diverged`` where it is a diverged run's.

    Example:
        >>> mse = Metric("final/mse_test", sign=1, curve="mse/test")
        >>> format_error(17.812, mse), format_error(float("inf"), mse)
        ('17.8', 'diverged')
    """
    if isinf(error):
        return "diverged"
    return f"{error:.0f}" if LARGE <= abs(error) < 1e6 else f"{metric.value_of(error):#.3g}"


def format_share(one: GroupSummary, outcome: str) -> str:
    """How many runs ended so, and the interval of their share.

    Only where there is more than one run.
    """
    estimate, count = one.outcomes[outcome], one.count(outcome)
    return f"{count}" if len(one.errors) == 1 else f"{count} ({estimate.low:.0%} to {estimate.high:.0%})"


def format_epochs(epochs: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
    """The median run's first epoch at the target, and how many runs reached it.

    Example:
        >>> [format_epochs(np.array(epochs)) for epochs in ([3.0, 4.0, np.inf], [3.0, np.inf], [np.inf])]
        ['4 (2 of 3)', 'only 1 of 2', 'never']
    """
    reached, middle = int(np.isfinite(epochs).sum()), float(np.median(epochs))
    if not isfinite(middle):
        return f"only {reached} of {len(epochs)}" if reached else "never"
    return f"{middle:.3g}" if reached == len(epochs) else f"{middle:.3g} ({reached} of {len(epochs)})"


def pair_table(pairs: Sequence[Pair]) -> Table:
    """One row for each pair."""
    columns = (
        "better",
        "worse",
        "probability of improvement",
        "95% interval",
        "p (Holm)",
        "told apart",
        "seeds needed",
    )
    return Table("Probability of improvement", columns, [_pair_row(pair) for pair in pairs])


def _pair_row(pair: Pair) -> tuple[str, ...]:
    return (
        pair.better.group.label,
        pair.worse.group.label,
        f"{pair.improvement.value:.2f}",
        f"{pair.improvement.low:.2f} to {pair.improvement.high:.2f}",
        f"{pair.p_value:.2g}",
        "yes" if pair.told_apart else "no",
        "" if pair.told_apart else "no number" if isinf(pair.needed) else _rounded(pair.needed),
    )


def verdicts(comparison: Comparison) -> list[str]:
    """What the numbers say, in sentences: which is best, what cannot be told apart, what was left out."""
    return [*_best(comparison), *_undecided(comparison), *_caveats(comparison)]


def _best(comparison: Comparison) -> list[str]:
    best, *others = comparison.summaries
    if isinf(best.median.value):
        return ["In every group the median run diverged: none of these settings trains."]
    value = format_error(best.median.value, comparison.metric)
    if not others:
        return [f"{best.group.label}: median {value}; there is nothing to compare it with."]
    beaten = {pair.worse.group.label for pair in comparison.pairs if pair.better is best and pair.told_apart}
    tested = {one.group.label for pair in comparison.pairs for one in (pair.better, pair.worse)} - {best.group.label}
    if tested and tested == beaten:
        return [f"Best: {best.group.label}, median {value}; the data tell it from every other group that was tested."]
    return [f"Best median: {best.group.label}, {value}; told apart from {len(beaten)} of {len(others)} other groups."]


def _undecided(comparison: Comparison) -> list[str]:
    """The pairs that cannot be told apart: of the best group's the next best by name, of the others how many."""
    best = comparison.summaries[0]
    undecided = [pair for pair in comparison.pairs if not pair.told_apart]
    of_best = [pair for pair in undecided if best in (pair.better, pair.worse)]
    lines = []
    if of_best:
        first, *rivals = [_format_rival(pair, best) for pair in of_best]
        named = [first, *(told.replace(" seeds each would tell", "") for told in rivals[: MOST_NAMED - 1])]
        more = f" and {len(of_best) - len(named)} more" if len(of_best) > len(named) else ""
        lines.append(f"The data cannot tell {best.group.label} apart from {', '.join(named)}{more}.")
    if others := len(undecided) - len(of_best):
        lines.append(f"Other pairs that the data cannot tell apart: {others} of {len(comparison.pairs)} pairs in all.")
    return lines


def _format_rival(pair: Pair, best: GroupSummary) -> str:
    rival = pair.worse if pair.better is best else pair.better
    return f"{rival.group.label} ({format_seeds(pair.needed, min(len(pair.better.errors), len(pair.worse.errors)))})"


def format_seeds(needed: float, runs: int) -> str:
    """How many seeds would tell two groups apart that the data cannot.

    Args:
        needed: that number, see :func:`gradclip.compare.statistics.seeds_needed`.
        runs: how many there are of the smaller group.

    Example:
        >>> format_seeds(13126, runs=20), format_seeds(18, runs=20), format_seeds(float("inf"), runs=20)
        ('about 13,000 seeds each would tell', 'as many seeds usually tell', 'no number of seeds would tell')
    """
    if isfinite(needed) and needed <= runs:
        return "as many seeds usually tell"
    return "no number of seeds would tell" if isinf(needed) else f"about {_rounded(needed)} seeds each would tell"


def _rounded(seeds: float) -> str:
    """To the two digits that such an estimate has at most."""
    return f"{float(f'{seeds:.2g}'):,.0f}"


def _caveats(comparison: Comparison) -> list[str]:
    grouping, selection = comparison.grouping, comparison.selection
    lines = []
    if few := [one.group.label for one in comparison.summaries if len(one.errors) < FEW_RUNS]:
        who = "Every group has" if len(few) == len(comparison.summaries) else f"{len(few)} groups have"
        lines.append(f"{who} fewer than {FEW_RUNS} seeds: their numbers say little.")
    if len(comparison.summaries) > MOST_PAIRED and comparison.pairs:
        lines.append(
            f"Only the best {MOST_PAIRED} of {len(comparison.summaries)} groups were tested against each other."
        )
    if grouping.mixed:
        lines.append(
            f"Groups mix runs that differ in more than the seed: {', '.join(grouping.mixed)}; add them to by=."
        )
    if grouping.repeated:
        lines.append(
            f"Runs that repeat another with the same seed were left out: {grouping.repeated}; the newest counts."
        )
    if selection.unfinished:
        lines.append(f"Runs that failed or have not ended were left out: {selection.unfinished}.")
    return lines


def method() -> str:
    """How the numbers were made, in a sentence for each."""
    return (
        "In brackets: 95% intervals; of median and mean by bootstrap over runs (percentiles), of shares by Wilson, "
        "of the probability of improvement by Newcombe. A diverged run counts as worse than any other. Told apart: "
        f"Mann-Whitney test, adjusted for all pairs by Holm, below {LEVEL:.2f}. Seeds needed: for a power of "
        f"{POWER:.0%} (Noether 1987)."
    )
