"""Tables and sentences of a comparison."""

from collections.abc import Sequence
from math import isfinite, isinf, isnan
from shlex import quote

import numpy as np

from gradclip.arrays import Floats
from gradclip.compare.design import design_lines
from gradclip.compare.edges import edge_lines
from gradclip.compare.metric import Metric
from gradclip.compare.statistics import FEWEST_RUNS, Estimate
from gradclip.compare.summary import MAX_COMPARED_GROUPS, OUTCOMES, SIGNIFICANCE_LEVEL, Comparison, GroupSummary, Pair
from gradclip.diagnosis.conditions import EQUIVALENCE_FACTOR
from gradclip.errors import first_few
from gradclip.formatting import CODE, Table, counted, format_value
from gradclip.program import command_line
from gradclip.terminal import console, print_lines, print_tables

WIDE = 100  # characters; a narrower terminal gets one column less
ON_TEST = "median on test"
MAX_NAMED = 3  # groups named in a sentence; further ones are counted


def tables(comparison: Comparison) -> list[Table]:
    """Return the tables of groups, of their settings and, if groups were tested, of the tests."""
    pairs = [pair_table(comparison.pairs)] if comparison.pairs else []
    return [group_table(comparison), *legend_tables(comparison), *pairs]


def legend_tables(comparison: Comparison) -> list[Table]:
    """Return a table of the settings that distinguish the groups; nothing if there are none."""
    by = [name for name in comparison.grouping.by if any(name in one.group.settings for one in comparison.summaries)]
    rows = [(one.group.label, *(one.group.settings.get(name, "") for name in by)) for one in comparison.summaries]
    return [Table("Settings", ("group", *by), rows)] if by else []


def short_table(comparison: Comparison, width: int) -> Table:
    """Return the table for a terminal of this width: the best groups, each with its test against the best one."""
    metric, shown = comparison.metric, comparison.summaries[:MAX_COMPARED_GROUPS]
    medians = [format_estimate(one.median, metric) for one in shown]
    has_intervals = any("(" in median for median in medians)
    columns = _first_columns(shown) | {"median (95%)" if has_intervals else "median": medians}
    if metric.reported:
        columns[ON_TEST] = [format_error(one.test_median.value, metric) for one in shown if one.test_median]
    if any(one.count("diverged") for one in shown):
        columns["diverged"] = [f"{one.count('diverged')} of {len(one.errors)}" for one in shown]
    if width >= WIDE:
        columns["clipped"] = [format_fraction(one.clip_fraction) for one in shown]
    if comparison.pairs and comparison.has_best:
        columns["p vs best"] = [_against_best(comparison, one) for one in shown]
    groups = len(comparison.summaries)
    some = "" if len(shown) == groups else f"; best {len(shown)} of {groups} groups"
    return Table.of_columns(f"{_title(comparison)}{some}", columns)


def _first_columns(groups: Sequence[GroupSummary]) -> dict[str, list[str]]:
    return {"group": [one.group.label for one in groups], "runs": [str(len(one.errors)) for one in groups]}


def _against_best(comparison: Comparison, other: GroupSummary) -> str:
    if other is comparison.best:
        return "best"
    return next((f"{pair.p_value:.2g}" for pair in comparison.pairs if pair.other(comparison.best) is other), "")


def _title(comparison: Comparison) -> str:
    runs = counted(sum(len(group.errors) for group in comparison.summaries), "run")
    return f"{comparison.metric.name} of {runs} on {comparison.data.name}: {comparison.selection.title}"


def group_table(comparison: Comparison) -> Table:
    """Return a table with one row per group and 95% intervals in parentheses."""
    metric, groups = comparison.metric, comparison.summaries
    columns = _first_columns(groups) | {
        "median": [format_estimate(one.median, metric) for one in groups],
        "interquartile mean": [format_estimate(one.interquartile_mean, metric) for one in groups],
    }
    if metric.reported:
        columns[ON_TEST] = [format_estimate(one.test_median, metric) for one in groups if one.test_median]
    for outcome in OUTCOMES:
        if any(one.count(outcome) for one in groups):
            columns[outcome] = [format_outcome(one, outcome) for one in groups]
    if metric.curve:
        columns[f"epochs to {format_score_value(comparison.target, metric)}"] = [
            format_epochs(one.epochs_to_target) for one in groups
        ]
    columns["clipped"] = [format_fraction(one.clip_fraction) for one in groups]
    columns["seconds"] = [f"{one.seconds:.3g}" if isfinite(one.seconds) else "" for one in groups]
    return Table.of_columns(_title(comparison), columns)


def format_fraction(fraction: float) -> str:
    """Format a fraction in percent; an unknown fraction becomes an empty string."""
    return f"{fraction:.0%}" if isfinite(fraction) else ""


def format_estimate(estimate: Estimate, metric: Metric) -> str:
    """Format an error and its interval, if it has one, as values of the metric."""
    value = format_error(estimate.value, metric)
    if np.isnan(estimate.low) or estimate.low == estimate.high:
        return value
    low, high = (format_error(end, metric) for end in metric.in_order(estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def format_error(error: float, metric: Metric) -> str:
    """Format an error as a value of the metric; an infinite one as ``diverged``.

    Example:
        >>> mse = Metric("final/mse_test", sign=1, curve="mse/test")
        >>> format_error(17.812, mse), format_error(float("inf"), mse)
        ('17.8', 'diverged')
        >>> format_error(-1500.0, Metric("final/reward", sign=-1, curve="reward"))
        '1500'
    """
    return "diverged" if isinf(error) else format_score_value(metric.to_value(error), metric)


def format_score_value(value: float, metric: Metric) -> str:
    """Format a value of a metric, a fraction in percent."""
    return f"{value:.1%}" if metric.is_fraction else format_value(value)


def format_outcome(summary: GroupSummary, outcome: str) -> str:
    """Format the number of runs with an outcome; for more than one run, add the interval of the proportion."""
    estimate, count = summary.outcomes[outcome], summary.count(outcome)
    return f"{count}" if len(summary.errors) == 1 else f"{count} ({estimate.low:.0%} to {estimate.high:.0%})"


def format_epochs(epochs: Floats) -> str:
    """Format the median of the ``[runs]`` epochs to the target, and the number of runs that reached it.

    Example:
        >>> [format_epochs(np.array(epochs)) for epochs in ([3.0, 4.0, np.inf], [3.0, np.inf], [np.inf])]
        ['4 (2 of 3)', 'only 1 of 2', 'never']
    """
    reached, median = int(np.isfinite(epochs).sum()), float(np.median(epochs))
    if not isfinite(median):
        return f"only {reached} of {len(epochs)}" if reached else "never"
    return f"{median:.3g}" if reached == len(epochs) else f"{median:.3g} ({reached} of {len(epochs)})"


def pair_table(pairs: Sequence[Pair]) -> Table:
    """Return a table with one row per pair."""
    equivalent = ["" if isnan(one.equivalence) else "yes" if one.equivalent else "not shown" for one in pairs]
    columns = {
        "better": [one.better.group.label for one in pairs],
        "worse": [one.worse.group.label for one in pairs],
        "probability of improvement": [f"{one.improvement.value:.2f}" for one in pairs],
        "95% interval": [f"{one.improvement.low:.2f} to {one.improvement.high:.2f}" for one in pairs],
        "p": [f"{one.p_value:.2g}" for one in pairs],
        "significant": ["yes" if one.significant else "no" for one in pairs],
        f"within a factor of {EQUIVALENCE_FACTOR}": equivalent,
    }
    return Table.of_columns("Probability of improvement", columns)


def verdicts(comparison: Comparison) -> list[str]:
    """Return sentences: the best group, what else to try, which groups are as good, and what the data leave open.

    Each sentence is one line. An indented line is a command.
    """
    if not comparison.has_best:
        return [*_best(comparison), *_caveats(comparison)]
    caveat = [comparison.metric.caveat] if comparison.metric.caveat and len(comparison.summaries) > 1 else []
    open_questions = [*edge_lines(comparison), *_not_significant(comparison), *_caveats(comparison)]
    return [*_best(comparison), *caveat, *open_questions]


def _best(comparison: Comparison) -> list[str]:
    best, *others = comparison.summaries
    if not comparison.has_best:
        advise = command_line("advise", [f"run={best.group.runs[0].run_id}"])
        return [
            "The median run of every group diverged: none of these settings works.",
            "To find one that does:",
            f"{CODE}{advise}",
        ]
    value = format_error(best.median.value, comparison.metric)
    if best.test_median:
        value += f" ({format_error(best.test_median.value, comparison.metric)} on the test rows)"
    if not others:
        return [f"{best.group.label}: median {value}; there is no other group to compare it with."]
    beaten = sum(pair.better is best and pair.significant for pair in comparison.pairs)
    if 0 < beaten == len(comparison.pairs):
        return [f"Best: {best.group.label}, median {value}; significantly better than every other group tested."]
    count = f"{beaten} of {len(others)} other groups"
    ahead = [pair for pair in comparison.pairs if pair.worse is best and pair.significant]
    what = f"Significantly better than {best.group.label} by the ranks of all runs, in spite of a worse median"
    return [
        f"Best median: {best.group.label}, {value}; significantly better than {count}.",
        *([f"{what}: {_names(ahead, best)}."] if ahead else []),
    ]


def _not_significant(comparison: Comparison) -> list[str]:
    """Return sentences that name the groups shown to be as good as the best, and the groups with neither result."""
    label = comparison.best.group.label
    alike = [pair for pair in comparison.pairs if pair.equivalent]
    open_pairs = [pair for pair in comparison.pairs if not pair.significant and not pair.equivalent]
    lines = []
    if alike:
        named = _names(alike, comparison.best)
        lines.append(f"As good as {label} within a factor of {EQUIVALENCE_FACTOR} (two one-sided tests): {named}.")
    if open_pairs:
        names = _names(open_pairs, comparison.best)
        lines.append(f"No significant difference between {label} and {names}, nor are they shown to be equally good.")
    return lines


def _names(pairs: Sequence[Pair], best: GroupSummary) -> str:
    return first_few((pair.other(best).group.label for pair in pairs), MAX_NAMED)


def _caveats(comparison: Comparison) -> list[str]:
    grouping, selection, summaries = comparison.grouping, comparison.selection, comparison.summaries
    lines = []
    if comparison.data.others:
        others = ", ".join(f"{name} ({count})" for name, count in comparison.data.others.items())
        lines.append(f"Only runs on {comparison.data.name} are compared. Set data_set=... to compare others: {others}.")
    lines += design_lines(comparison)
    if len(summaries) > MAX_COMPARED_GROUPS and comparison.pairs:
        lines.append(f"Only the best {MAX_COMPARED_GROUPS} of {len(summaries)} groups were tested.")
    if grouping.mixed:
        typed = quote(f"by=[{','.join([*grouping.by, *grouping.mixed])}]")
        lines.append(f"Some groups mix runs that differ in more than the seed. To separate them: {typed}")
    if grouping.duplicates:
        lines.append(f"Ignored older runs with the settings and seed of a newer run: {grouping.duplicates}.")
    if selection.unfinished:
        lines.append(f"Ignored runs that failed or have not finished: {selection.unfinished}.")
    return lines


def methods_note(comparison: Comparison) -> str:
    """Return a paragraph that names the statistical method of every number."""
    intervals = (
        "95% confidence intervals are in parentheses. Median: exact, between two order statistics. Interquartile mean: "
        f"percentile bootstrap over runs. Both need at least {FEWEST_RUNS} runs. Proportions: Wilson."
    )
    worst = "A diverged run ranks below every other run."
    if not comparison.pairs:
        return f"{intervals} {worst}"
    significant = f"{worst} Significant: p below {SIGNIFICANCE_LEVEL:.2f} in"
    if any(pair.paired for pair in comparison.pairs):
        return (
            f"{intervals} Probability of improvement: Clopper-Pearson. Runs of the same seed are compared in pairs. "
            f"{significant} a sign-flip test of ranks, adjusted for choosing the best of all groups (largest "
            f"difference, step-down). Within a factor of {EQUIVALENCE_FACTOR}: two one-sided signed-rank tests of the "
            f"ratios of {comparison.metric.ratios} with Holm correction."
        )
    return (
        f"{intervals} Probability of improvement: Newcombe. Runs are not compared in pairs, because groups do not "
        f"share their seeds or have several runs of one seed. {significant} the Mann-Whitney test with Holm correction "
        "over all pairs of groups."
    )


def print_findings(comparison: Comparison) -> None:
    """Print the table of the best groups and the verdicts."""
    print_tables([short_table(comparison, console().width)])
    print_lines(*verdicts(comparison))
