"""What numbers of groups and seeds are able to tell, whatever their scores are."""

from math import comb

from gradclip.compare import statistics
from gradclip.compare.summary import MAX_COMPARED_GROUPS, Comparison


def design_lines(comparison: Comparison) -> list[str]:
    """Say what the numbers of runs allow to find; the two largest groups have the smallest p-value of all pairs."""
    runs = sorted((len(one.errors) for one in comparison.summaries), reverse=True)
    tested = [count for count in runs if count > 1][:MAX_COMPARED_GROUPS]
    if len(runs) < 2:
        return []
    if len(tested) < 2:
        return [design_sentence(len(runs), 1)]
    few = sum(count < tested[1] for count in runs)
    fewer = [f"{few} of {len(runs)} groups have fewer seeds."] if few else []
    return [design_sentence(len(tested), tested[1]), *fewer]


def design_sentence(groups: int, seeds: int) -> str:
    """Say whether the tests of a comparison are able to find any difference.

    Args:
        groups: number of groups, of which each pair is tested; 2 or more.
        seeds: runs of each group, or of the smallest.

    Example:
        >>> print(design_sentence(5, 5))
        5 seeds and 10 pairs can tell nothing apart at 5%: the smallest possible p is 0.079; 6 seeds or more can.
        >>> print(design_sentence(5, 10))
        10 seeds and 10 pairs can tell groups apart at 5%: the smallest possible p is 0.00011.
    """
    pairs = comb(min(groups, MAX_COMPARED_GROUPS), 2)
    needed = statistics.fewest_seeds(pairs)
    tested = f"{pairs} {'pair' if pairs == 1 else 'pairs'}"
    if seeds == 1:
        return f"One seed each can tell nothing apart; with {tested}, {needed} seeds or more can."
    smallest = f"the smallest possible p is {statistics.smallest_p_value(seeds, seeds, pairs):.2g}"
    design = f"{seeds} seeds and {tested}"
    if seeds < needed:
        return f"{design} can tell nothing apart at 5%: {smallest}; {needed} seeds or more can."
    return f"{design} can tell groups apart at 5%: {smallest}."
