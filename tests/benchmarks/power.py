"""Power and error rate of paired comparisons: ``python -m tests.benchmarks.power`` prints Markdown tables.

The errors are simulated after stored runs: log-normal, with a rank correlation of 0.56 between two settings over the
same seeds (the median of stored runs). A worse setting loses to a better one in 70% of all pairs of runs.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations
from math import pi, sin, sqrt

import numpy as np
from scipy.stats import mannwhitneyu, norm, rankdata, wilcoxon

from gradclip.arrays import Floats
from gradclip.compare import statistics
from gradclip.compare.planned import batch_levels, planned_tests
from gradclip.config.schema import BATCHES
from gradclip.diagnosis.conditions import EQUIVALENCE_FACTOR

RANK_CORRELATION = 0.56
CORRELATION = 2 * sin(pi * RANK_CORRELATION / 6)  # correlation of normal variables with this rank correlation
SHIFT = norm.ppf(0.7) * sqrt(2)  # larger logarithmic error of a worse setting, in standard deviations of a run
LEVEL = 1 - statistics.CONFIDENCE
SEEDS, GROUPS, TRIALS = (5, 6, 10, 20), 5, 1000
ARMS = 7  # arms of a confirmation, including the advice
RULES = {  # total number of seeds and significance level at each look
    f"`seeds=auto`: {', '.join(map(str, BATCHES))}": (BATCHES, batch_levels(BATCHES)),
    "the same looks, each at 5%": (BATCHES, [LEVEL] * len(BATCHES)),
    **{f"{seeds} seeds, one look": ((seeds,), [LEVEL]) for seeds in BATCHES},
}

Procedure = Callable[[Floats], Floats]  # from errors, [seeds, groups], to p-values of the best group against each


def made_errors(generator: np.random.Generator, seeds: int, shifts: Sequence[float], diverged: float = 0.0) -> Floats:
    """Return simulated errors, ``[seeds, groups]``.

    Args:
        generator: random number generator.
        seeds: number of runs per group.
        shifts: shift of each group, in standard deviations of the logarithm.
        diverged: share of runs that diverge, independently of the seed.
    """
    of_seed, of_run = generator.normal(size=(seeds, 1)), generator.normal(size=(seeds, len(shifts)))
    errors = np.exp(sqrt(CORRELATION) * of_seed + sqrt(1 - CORRELATION) * of_run + np.array(shifts))
    return np.where(generator.random(errors.shape) < diverged, np.inf, errors)


def best_of(errors: Floats) -> int:
    """Return the index of the group with the best median, as a comparison chooses it."""
    medians = np.median(np.minimum(errors, statistics.HUGE), axis=0)
    return int(np.lexsort((np.mean(rankdata(errors, axis=None).reshape(errors.shape), axis=0), medians))[0])


def sign_flips(errors: Floats) -> Floats:
    """Return the p-values of gradclip's test if groups share seeds."""
    return statistics.paired_p_values(errors, best_of(errors))


def all_pairs(errors: Floats) -> Floats:
    """Return the p-values of gradclip's test if groups do not share seeds: Mann-Whitney, Holm over all pairs."""
    pairs = [*combinations(range(errors.shape[1]), 2)]
    first, second = zip(*pairs, strict=True)
    adjusted = statistics.holm(mannwhitneyu(errors[:, first], errors[:, second]).pvalue.tolist())
    p_values, best = np.ones(errors.shape[1]), best_of(errors)
    for pair, p_value in zip(pairs, adjusted, strict=True):
        if best in pair:
            p_values[sum(pair) - best] = p_value
    return p_values


def best_with_rest(errors: Floats) -> Floats:
    """Return the p-values of Wilcoxon's tests, Holm over the others, which ignore how the best was chosen."""
    p_values, best = np.ones(errors.shape[1]), best_of(errors)
    others = [group for group in range(errors.shape[1]) if group != best]
    logarithms = np.log(np.minimum(errors, statistics.HUGE))
    method = "auto" if np.isfinite(errors).all() else "approx"  # with ties, "auto" uses slow permutations
    tests = wilcoxon(logarithms[:, [best]] - logarithms[:, others], method=method, axis=0).pvalue
    p_values[others] = statistics.holm(np.nan_to_num(tests, nan=1.0).tolist())
    return p_values


PROCEDURES: dict[str, Procedure] = {
    "pairs, sign flips": sign_flips,
    "pairs, Wilcoxon, Holm over best with rest": best_with_rest,
    "not paired, Mann-Whitney, Holm over all": all_pairs,
}


def false_claims(
    procedure: Procedure, seeds: int, worse: int = 0, diverged: float = 0.0, trials: int = TRIALS
) -> float:
    """Return how often the best group is called better than a group that is equally good.

    Args:
        procedure: procedure to judge.
        seeds: number of runs per group.
        worse: number of the five groups that are truly worse, by three times the usual shift.
        diverged: share of runs that diverge.
        trials: number of simulated comparisons.
    """
    generator, errs = np.random.default_rng(seeds), 0
    shifts = np.array([0.0] * (GROUPS - worse) + [3 * SHIFT] * worse)
    for _ in range(trials):
        errors = made_errors(generator, seeds, shifts.tolist(), diverged)
        alike = shifts == shifts[best_of(errors)]
        errs += bool((procedure(errors)[alike] < LEVEL).any())
    return errs / trials


def power(procedure: Procedure, seeds: int, groups: int, trials: int = TRIALS) -> float:
    """Return how often the best group is found, and shown to be better than a group that loses in 70% of pairs of runs.

    Args:
        procedure: procedure to judge.
        seeds: number of runs per group.
        groups: number of groups; the first is the best, the others are equally worse, and the result is their mean.
        trials: number of simulated comparisons.
    """
    generator, found = np.random.default_rng(seeds), 0.0
    for _ in range(trials):
        errors = made_errors(generator, seeds, [0.0] + [SHIFT] * (groups - 1))
        found += float(np.mean(procedure(errors)[1:] < LEVEL)) if best_of(errors) == 0 else 0.0
    return found / trials


def equivalence(seeds: int, factor: float, trials: int = TRIALS) -> float:
    """Return how often two groups are called equally good.

    Args:
        seeds: number of runs per group.
        factor: true ratio of the errors; within a seed the ratios scatter by 10% around it.
        trials: number of simulated comparisons.
    """
    generator = np.random.default_rng(seeds)
    ratios = factor * np.exp(0.1 * generator.normal(size=(trials, seeds)))
    return float(np.mean([statistics.equivalence_p_value(np.ones(seeds), ratio) < LEVEL for ratio in ratios]))


def confirmed(
    looks: Sequence[int], levels: Sequence[float], shifts: Sequence[float], trials: int = TRIALS
) -> tuple[float, float]:
    """Return how often a confirmation finds a difference between its first arm and any other, and its mean seeds.

    Args:
        looks: total number of seeds after each batch; the confirmation stops once all other arms differ significantly.
        levels: significance level at each look.
        shifts: shift of each arm, in standard deviations of the logarithm.
        trials: number of simulated confirmations.
    """
    generator, pairs = np.random.default_rng(len(looks)), [(0, arm) for arm in range(1, len(shifts))]
    claims, taken = 0, 0
    for _ in range(trials):
        errors = made_errors(generator, looks[-1], shifts)
        for seeds, level in zip(looks, levels, strict=True):
            significant = planned_tests(errors[:seeds], pairs)[1] < level
            if significant.all():
                break
        claims, taken = claims + bool(significant.any()), taken + seeds
    return claims / trials, taken / trials


def rows() -> Iterator[tuple[str, list[float]]]:
    """Yield the rows of the first table: the name of a quantity, and its value for each number of seeds."""
    quantities: dict[str, Callable[[Procedure, int], float]] = {
        "power, 2 groups": partial(power, groups=2),
        f"power, {GROUPS} groups": partial(power, groups=GROUPS),
        f"error, {GROUPS} equal groups": false_claims,
        **{f"error, {GROUPS - worse} equal and {worse} worse": partial(false_claims, worse=worse) for worse in (2, 3)},
        f"error, {GROUPS} equal, a fifth of the runs diverges": partial(false_claims, diverged=0.2),
    }
    for name, quantity in quantities.items():
        for how, procedure in PROCEDURES.items():
            yield f"{name}: {how}", [quantity(procedure, seeds) for seeds in SEEDS]
    yield (
        f"called equally good, though the factor is {EQUIVALENCE_FACTOR:g}",
        [equivalence(seeds, EQUIVALENCE_FACTOR) for seeds in SEEDS],
    )
    yield (
        "called equally good, where there is no difference and runs of a seed scatter by 10%",
        [equivalence(seeds, 1.0) for seeds in SEEDS],
    )


def rows_of_batches() -> Iterator[tuple[str, list[float]]]:
    """Yield the rows of the second table: the name of a rule, its error rates, its power, and its numbers of seeds."""
    for name, (looks, levels) in RULES.items():
        error_of_one, _ = confirmed(looks, levels, [0.0, 0.0])
        error_of_all, _ = confirmed(looks, levels, [0.0] * ARMS)
        power_of_one, seeds = confirmed(looks, levels, [0.0, SHIFT])
        power_of_large, fewer = confirmed(looks, levels, [0.0, 2 * SHIFT])
        yield name, [error_of_one, error_of_all, power_of_one, seeds, power_of_large, fewer]


def main() -> None:
    """Print the tables in Markdown."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(f"| fraction of comparisons | {' | '.join(f'{seeds} seeds' for seeds in SEEDS)} |")
    print(f"|---|{'---|' * len(SEEDS)}")
    for name, shares in rows():
        print(f"| {name} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)
    equal = f"error, 1 equal arm | error, {ARMS - 1} equal arms"
    print(f"\n| when it looks | {equal} | power, 1 worse arm | seeds | power, twice the shift | seeds |")
    print(f"|---|{'---|' * 6}")
    for name, (error_of_one, error_of_all, power_of_one, seeds, power_of_large, fewer) in rows_of_batches():
        first = f"{error_of_one:.1%} | {error_of_all:.1%} | {power_of_one:.1%} | {seeds:.3g}"
        print(f"| {name} | {first} | {power_of_large:.1%} | {fewer:.3g} |", flush=True)


if __name__ == "__main__":
    main()
