"""Differences that a comparison can show with its numbers of groups and seeds, whatever the scores are."""

from math import comb

from gradclip.compare import statistics
from gradclip.compare.summary import Comparison, GroupSummary


def design_lines(comparison: Comparison) -> list[str]:
    """Return sentences on the smallest possible p-value, which depends on the numbers of runs alone."""
    best, *others = comparison.summaries
    if not others:
        return []
    if not comparison.pairs:
        return [_of_single_runs(len(best.errors), max(len(one.errors) for one in others))]
    is_paired = comparison.pairs[0].paired
    counts = [_usable_seeds(best, other, is_paired) for other in others]
    seeds = max(counts)
    lines = [design_sentence(seeds, None if is_paired else comb(1 + len(comparison.pairs), 2))]
    if is_paired and seeds < len(best.errors):
        lines.append(f"{best.group.label} has {len(best.errors)} seeds; others share at most {seeds} of them.")
    if few := sum(count < seeds for count in counts):
        lines.append(f"{few} of {1 + len(others)} groups {'has' if few == 1 else 'have'} fewer seeds.")
    return lines


def _of_single_runs(best: int, others: int) -> str:
    """Return why nothing was tested: the best group, every other group or both have a single run."""
    if best == others == 1:
        return design_sentence(1)
    which = "The best group" if best == 1 else "Every other group"
    return f"{which} has one seed only, so nothing was tested. Use at least {statistics.fewest_seeds()} seeds."


def _usable_seeds(best: GroupSummary, other: GroupSummary, is_paired: bool) -> int:
    """Return the number of seeds that the test of two groups can use."""
    if is_paired:
        return len((best.by_seed or {}).keys() & (other.by_seed or {}).keys())
    return min(len(best.errors), len(other.errors))


def design_sentence(seeds: int, tests: int | None = None) -> str:
    """Return a sentence on whether the tests of a comparison can find any difference.

    ``tests`` has the meaning that it has in :func:`gradclip.compare.statistics.smallest_p_value`.

    Example:
        >>> print(design_sentence(5))
        5 seeds cannot show a difference at the 5% level (smallest possible p: 0.062). Use at least 6 seeds.
        >>> print(design_sentence(6, tests=10))
        6 runs per group, not in pairs, can show a difference at the 5% level (smallest possible p: 0.022).
        >>> print(design_sentence(10))
        10 seeds can show a difference at the 5% level (smallest possible p: 0.002).
    """
    needed = statistics.fewest_seeds(tests)
    if seeds == 1:
        return f"1 seed per group cannot show a difference. Use at least {needed} seeds."
    smallest = f"smallest possible p: {statistics.smallest_p_value(seeds, tests):.2g}"
    design = f"{seeds} seeds" if tests is None else f"{seeds} runs per group, not in pairs,"
    if seeds < needed:
        return f"{design} cannot show a difference at the 5% level ({smallest}). Use at least {needed} seeds."
    return f"{design} can show a difference at the 5% level ({smallest})."
