"""What numbers of groups and seeds are able to tell, whatever their scores are."""

from math import comb

from gradclip.compare import statistics
from gradclip.compare.summary import Comparison


def design_lines(comparison: Comparison) -> list[str]:
    """Say what the numbers of runs allow to find; the largest group has the smallest p-value of all."""
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
    """Say whether the tests of a comparison are able to find any difference.

    Args:
        seeds: runs of each group, or of the smallest.
        tests: number of unpaired tests; None means pairs of runs of one seed, with any number of groups.

    Example:
        >>> print(design_sentence(5))
        5 seeds can tell nothing apart at 5%: the smallest possible p is 0.062; 6 seeds or more can.
        >>> print(design_sentence(6, tests=10))
        6 seeds, not the same in all groups, can tell groups apart at 5%: the smallest possible p is 0.022.
        >>> print(design_sentence(10))
        10 seeds can tell groups apart at 5%: the smallest possible p is 0.002.
    """
    needed = statistics.fewest_seeds(tests)
    if seeds == 1:
        return f"One seed each can tell nothing apart; {needed} seeds or more can."
    smallest = f"the smallest possible p is {statistics.smallest_p_value(seeds, tests):.2g}"
    design = f"{seeds} seeds" if tests is None else f"{seeds} seeds, not the same in all groups,"
    if seeds < needed:
        return f"{design} can tell nothing apart at 5%: {smallest}; {needed} seeds or more can."
    return f"{design} can tell groups apart at 5%: {smallest}."
