"""What comparing runs of one seed gains, and how often it errs: ``python -m tests.benchmarks.power`` prints tables.

Errors are made up as stored runs have them: log-normal, with a rank correlation of 0.56 between two settings over the
same seeds (the median of stored runs). A setting that is worse loses to a better one in 70% of all pairs of runs.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
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
CORRELATION = 2 * sin(pi * RANK_CORRELATION / 6)  # of normal variables with that rank correlation
SHIFT = norm.ppf(0.7) * sqrt(2)  # by which a worse setting is worse, in standard deviations of a run
LEVEL = 1 - statistics.CONFIDENCE
SEEDS, GROUPS, TRIALS = (5, 6, 10, 20), 5, 1000
ARMS = 7  # of a confirmation, the advice among them
RULES = {  # seeds in all at each look, and the level there
    f"seeds=auto: {', '.join(map(str, BATCHES))}": (BATCHES, batch_levels(BATCHES)),
    "the same looks, each at 5%": (BATCHES, [LEVEL] * len(BATCHES)),
    **{f"{seeds} seeds, one look": ((seeds,), [LEVEL]) for seeds in BATCHES},
}

Procedure = Callable[[Floats], Floats]  # from errors, [seeds, groups], to p-values of the best group with each


def made_errors(generator: np.random.Generator, seeds: int, shifts: Sequence[float], diverged: float = 0.0) -> Floats:
    """Return errors ``[seeds, groups]``.

    Args:
        generator: of random numbers.
        seeds: runs of each group.
        shifts: of each group, in standard deviations of the logarithm.
        diverged: share of runs that diverge, whatever the seed.
    """
    of_seed, of_run = generator.normal(size=(seeds, 1)), generator.normal(size=(seeds, len(shifts)))
    errors = np.exp(sqrt(CORRELATION) * of_seed + sqrt(1 - CORRELATION) * of_run + np.array(shifts))
    return np.where(generator.random(errors.shape) < diverged, np.inf, errors)


def best_of(errors: Floats) -> int:
    """Return the group that a comparison calls the best: that of the best median."""
    medians = np.median(np.minimum(errors, statistics.HUGE), axis=0)
    return int(np.lexsort((np.mean(rankdata(errors, axis=None).reshape(errors.shape), axis=0), medians))[0])


def sign_flips(errors: Floats) -> Floats:
    """What gradclip does where groups share seeds."""
    return statistics.paired_p_values(errors, best_of(errors))


def all_pairs(errors: Floats) -> Floats:
    """What gradclip does where they do not: Mann-Whitney, Holm over all pairs."""
    pairs = [*combinations(range(errors.shape[1]), 2)]
    first, second = zip(*pairs, strict=True)
    adjusted = statistics.holm(mannwhitneyu(errors[:, first], errors[:, second]).pvalue.tolist())
    p_values, best = np.ones(errors.shape[1]), best_of(errors)
    for pair, p_value in zip(pairs, adjusted, strict=True):
        if best in pair:
            p_values[sum(pair) - best] = p_value
    return p_values


def best_with_rest(errors: Floats) -> Floats:
    """What forgets that the best was chosen by the same errors: Wilcoxon's signed ranks, Holm over the others."""
    p_values, best = np.ones(errors.shape[1]), best_of(errors)
    others = [group for group in range(errors.shape[1]) if group != best]
    logarithms = np.log(np.minimum(errors, statistics.HUGE))
    method = "auto" if np.isfinite(errors).all() else "approx"  # with ties SciPy tries permutations, which takes long
    tests = wilcoxon(logarithms[:, [best]] - logarithms[:, others], method=method, axis=0).pvalue
    p_values[others] = statistics.holm(np.nan_to_num(tests, nan=1.0).tolist())
    return p_values


PROCEDURES: dict[str, Procedure] = {
    "pairs of one seed, sign flips": sign_flips,
    "not paired, Mann-Whitney, Holm over all pairs": all_pairs,
    "paired, Wilcoxon, Holm over best with rest": best_with_rest,
}


def false_claims(
    procedure: Procedure, seeds: int, worse: int = 0, diverged: float = 0.0, trials: int = TRIALS
) -> float:
    """Return how often the best is called better than a group that is as good.

    Args:
        procedure: that is judged.
        seeds: runs of each group.
        worse: number of groups, of five, that really are worse, by three times the usual shift.
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
    """Return how often the best group is found and told from one that is worse in 70% of pairs of runs.

    Args:
        procedure: that is judged.
        seeds: runs of each group.
        groups: of which the first is the best and the others are equally worse; the share is the mean over the others.
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
        seeds: runs of each group.
        factor: by which the errors of one really are larger; within a seed they scatter by 10% around it.
        trials: number of simulated comparisons.
    """
    generator = np.random.default_rng(seeds)
    ratios = factor * np.exp(0.1 * generator.normal(size=(trials, seeds)))
    return float(np.mean([statistics.equivalence_p_value(np.ones(seeds), ratio) < LEVEL for ratio in ratios]))


def confirmed(
    looks: Sequence[int], levels: Sequence[float], shifts: Sequence[float], trials: int = TRIALS
) -> tuple[float, float]:
    """Return how often a confirmation tells its first arm from any other, and how many seeds it takes.

    Args:
        looks: seeds in all after each batch; it stops as soon as every arm is told from the first.
        levels: below which a p-value is significant, at each look.
        shifts: of each arm, in standard deviations of the logarithm.
        trials: number of simulated confirmations.
    """
    generator, pairs = np.random.default_rng(len(looks)), [(0, arm) for arm in range(1, len(shifts))]
    claims, taken = 0, 0
    for _ in range(trials):
        errors = made_errors(generator, looks[-1], shifts)
        for seeds, level in zip(looks, levels, strict=True):
            told = planned_tests(errors[:seeds], pairs)[1] < level
            if told.all():
                break
        claims, taken = claims + bool(told.any()), taken + seeds
    return claims / trials, taken / trials


def rows() -> Iterator[tuple[str, list[float]]]:
    """Yield the rows of the table: what is measured, and the share at each number of seeds."""
    for name, procedure in PROCEDURES.items():
        yield f"power, 2 groups: {name}", [power(procedure, seeds, 2) for seeds in SEEDS]
        yield f"power, 5 groups: {name}", [power(procedure, seeds, GROUPS) for seeds in SEEDS]
        yield f"error, 5 equal groups: {name}", [false_claims(procedure, seeds) for seeds in SEEDS]
        for worse in (2, 3):
            of_worse = [false_claims(procedure, seeds, worse) for seeds in SEEDS]
            yield f"error, {worse} of 5 worse: {name}", of_worse
        of_diverged = [false_claims(procedure, seeds, diverged=0.2) for seeds in SEEDS]
        yield f"error, a fifth diverges: {name}", of_diverged
    for factor in (EQUIVALENCE_FACTOR, 1.0):
        yield f"called equal at a factor of {factor:g}", [equivalence(seeds, factor) for seeds in SEEDS]


def rows_of_batches() -> Iterator[tuple[str, list[float]]]:
    """Yield the rows of the second table: a rule when to look, its errors, its power, and the seeds that it takes."""
    for name, (looks, levels) in RULES.items():
        error_of_one, _ = confirmed(looks, levels, [0.0, 0.0])
        error_of_all, _ = confirmed(looks, levels, [0.0] * ARMS)
        power_of_one, seeds = confirmed(looks, levels, [0.0, SHIFT])
        power_of_large, fewer = confirmed(looks, levels, [0.0, 2 * SHIFT])
        yield name, [error_of_one, error_of_all, power_of_one, seeds, power_of_large, fewer]


def main() -> None:
    """Print the tables in Markdown."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(f"| share of {TRIALS} comparisons | {' | '.join(f'{seeds} seeds' for seeds in SEEDS)} |")
    print(f"|---|{'---|' * len(SEEDS)}")
    for name, shares in rows():
        print(f"| {name} | {' | '.join(f'{share:.3f}' for share in shares)} |", flush=True)
    equal = f"error, 1 equal arm | error, {ARMS - 1} equal arms"
    print(f"\n| when it looks | {equal} | power | seeds | power, twice the shift | seeds |\n|---|{'---|' * 6}")
    for name, numbers in rows_of_batches():
        print(f"| {name} | {' | '.join(f'{number:.3g}' for number in numbers)} |", flush=True)


if __name__ == "__main__":
    main()
