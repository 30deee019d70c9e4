"""Differences that a comparison can show with its numbers of groups and seeds, whatever the scores are."""

from math import comb

from gradclip.compare import statistics
from gradclip.compare.summary import Comparison


def design_lines(comparison: Comparison) -> list[str]:
    """Return sentences on the smallest possible p-value, which depends on the numbers of runs alone."""
    best, *others = (len(one.errors) for one in comparison.summaries)
    if not others:
        return []
    if not comparison.pairs:
        return [design_sentence(1)]
    seeds = min(best, max(others))
    few = sum(count < seeds for count in (best, *others))
    fewer = [f"{few} of {1 + len(others)} groups have fewer seeds."] if few else []
    tests = None if comparison.pairs[0].paired else comb(1 + len(comparison.pairs), 2)
    return [design_sentence(seeds, tests), *fewer]


def design_sentence(seeds: int, tests: int | None = None) -> str:
    """Return a sentence on whether the tests of a comparison can find any difference.

    Args:
        seeds: number of runs of each group.
        tests: number of unpaired tests; None means tests of pairs of runs with the same seed, of any number of groups.

    Example:
        >>> print(design_sentence(5))
        5 seeds cannot show a difference at the 5% level (smallest possible p: 0.062). Use at least 6 seeds.
        >>> print(design_sentence(6, tests=10))
        6 seeds, not the same in all groups, can show a difference at the 5% level (smallest possible p: 0.022).
        >>> print(design_sentence(10))
        10 seeds can show a difference at the 5% level (smallest possible p: 0.002).
    """
    needed = statistics.fewest_seeds(tests)
    if seeds == 1:
        return f"1 seed per group cannot show a difference. Use at least {needed} seeds."
    smallest = f"smallest possible p: {statistics.smallest_p_value(seeds, tests):.2g}"
    design = f"{seeds} seeds" if tests is None else f"{seeds} seeds, not the same in all groups,"
    if seeds < needed:
        return f"{design} cannot show a difference at the 5% level ({smallest}). Use at least {needed} seeds."
    return f"{design} can show a difference at the 5% level ({smallest})."
