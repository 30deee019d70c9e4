"""Statistics against SciPy, simulations and cases computed by hand."""

import numpy as np
import pytest
from scipy import stats

from gradclip.compare import statistics
from gradclip.diagnosis.conditions import EQUIVALENCE_FACTOR
from tests.benchmarks.coverage import coverage
from tests.benchmarks.power import all_pairs, equivalence, false_claims, power, sign_flips

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(("runs", "low", "high"), [(5, 1, 5), (6, 1, 6), (9, 2, 8), (10, 2, 9), (20, 6, 15)])
def test_the_interval_of_the_median_lies_between_two_runs(runs: int, low: int, high: int) -> None:
    """Expected values are from tables of the sign test; SciPy has the same interval if one of 95% exists."""
    errors = np.random.default_rng(0).permutation(np.arange(1.0, runs + 1))
    assert statistics.median(errors) == (np.median(errors), low, high)
    if runs > 5:
        expected = stats.quantile_test(errors, q=0, p=0.5).confidence_interval(0.95)
        assert (low, high) == (expected.low, expected.high)


def test_interquartile_mean_drops_a_quarter_at_each_end() -> None:
    assert statistics.interquartile_mean(np.array([-100.0, 1, 2, 3, 4, 5, 6, 900])).value == 3.5


@pytest.mark.parametrize(("diverged", "median", "interquartile_mean"), [(1, 3.5, 3.5), (3, INF, INF), (6, INF, INF)])
def test_diverged_runs_count_as_worst(diverged: int, median: float, interquartile_mean: float) -> None:
    errors = np.array([1.0, 2, 3, 4, 5, 6][: 6 - diverged] + [INF] * diverged)
    assert statistics.median(errors).value == median
    assert statistics.interquartile_mean(errors).value == interquartile_mean


def test_an_interval_that_reaches_diverged_runs_is_unbounded() -> None:
    assert statistics.median(np.array([1.0, 2, 3, INF, INF])) == (3, 1, INF)


def test_four_runs_have_no_interval_and_that_of_equal_runs_is_a_point() -> None:
    for statistic in (statistics.median, statistics.interquartile_mean):
        assert np.isnan(statistic(np.array([1.0, 2, 3, 4])).low)
        assert statistic(np.full(5, INF)) == (INF, INF, INF)


def test_probability_of_improvement_counts_ties_half() -> None:
    assert statistics.probability_of_improvement(np.array([1.0, 2]), np.array([2.0, INF])).value == 3.5 / 4
    assert statistics.probability_of_improvement(np.array([INF] * 3), np.array([INF] * 3)).value == 0.5


def test_probability_of_improvement_follows_from_the_mann_whitney_statistic() -> None:
    generator = np.random.default_rng(1)
    errors, others = generator.normal(size=13), generator.normal(0.5, size=9)
    u = stats.mannwhitneyu(others, errors).statistic  # number of pairs in which the other is larger
    assert statistics.probability_of_improvement(errors, others).value == pytest.approx(u / (13 * 9))


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
def test_the_interval_of_the_probability_covers_the_truth(shift: float) -> None:
    truth = stats.norm.cdf(shift / np.sqrt(2))
    generator, trials = np.random.default_rng(2), 400
    intervals = [
        statistics.probability_of_improvement(generator.normal(size=8), generator.normal(shift, size=8))
        for _ in range(trials)
    ]
    covered = np.mean([interval.low <= truth <= interval.high for interval in intervals])
    assert 0.92 <= covered <= 0.995


def test_the_interval_does_not_collapse_if_all_runs_win() -> None:
    estimate = statistics.probability_of_improvement(np.array([1.0, 2, 3]), np.array([4.0, 5, 6]))
    assert estimate.high == 1
    assert estimate.low == pytest.approx(0.5, abs=0.01)


def test_the_p_value_is_exact_for_few_runs_even_with_ties() -> None:
    assert statistics.difference_p_value(np.array([1.0, 2, 3]), np.array([INF] * 3)) == pytest.approx(0.1)
    assert statistics.difference_p_value(np.array([INF] * 3), np.array([INF] * 3)) == 1


def test_the_holm_adjustment_equals_that_by_hand() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([]) == []


def test_two_groups_are_compared_under_every_sign_flip() -> None:
    errors = np.array([[1.0, 4], [2, 3], [5, 9], [INF, 6], [7, INF]])
    ranks = stats.rankdata(errors).reshape(errors.shape)
    expected = stats.permutation_test((ranks[:, 1] - ranks[:, 0],), np.sum, permutation_type="samples", n_resamples=99)
    assert statistics.paired_p_values(errors, best=0)[1] == pytest.approx(expected.pvalue)


def test_a_diverged_run_is_worst_however_large_the_others_are() -> None:
    finite = np.arange(1.0, 7)
    for size in (10.0, 1e200):
        errors = np.stack([finite * size, np.full(6, INF)], axis=1)
        assert statistics.paired_p_values(errors, best=0)[1] == statistics.smallest_p_value(6)
    assert statistics.paired_p_values(np.full((6, 3), INF), best=0).tolist() == [1, 1, 1]


def test_pairs_find_a_small_difference_although_seeds_differ_much() -> None:
    of_seed = np.geomspace(1, 1e6, 8)
    assert statistics.paired_p_values(np.stack([of_seed, 1.05 * of_seed], axis=1), best=0)[1] < 0.01
    assert statistics.difference_p_value(of_seed, 1.05 * of_seed) > 0.5


def test_a_group_far_behind_does_not_hide_a_smaller_difference() -> None:
    base = np.arange(10.0)
    near, far = base + 0.5, np.full(10, INF)
    assert statistics.paired_p_values(np.stack([base, near, far], axis=1), best=0) == pytest.approx([1, 2**-9, 2**-9])


def test_a_missing_run_does_not_affect_the_pairs_of_other_seeds() -> None:
    errors = np.array([[1.0, 2], [2, 4], [3, 6], [4, 8], [5, 10], [6, 12], [NAN, 1], [7, NAN]])
    assert statistics.paired_p_values(errors, best=0)[1] == statistics.smallest_p_value(6)


def test_many_seeds_are_flipped_at_random_and_never_have_a_p_value_of_zero() -> None:
    base = np.arange(40.0)
    found = statistics.paired_p_values(np.stack([base, base + 0.5], axis=1), best=0)[1]
    assert 0 < found < 0.001


def test_a_paired_tie_counts_half_and_the_interval_equals_scipys() -> None:
    assert statistics.paired_improvement(np.array([1.0, 2, INF]), np.array([2.0, 2, INF])).value == pytest.approx(2 / 3)
    estimate = statistics.paired_improvement(np.array([1.0] * 7 + [3] * 3), np.full(10, 2.0))
    expected = stats.binomtest(7, 10).proportion_ci(0.95, method="exact")
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    ("factor", "equal"), [(1.0, True), (1.05, True), (1.09, True), (1.11, False), (0.88, False), (INF, False)]
)
def test_scores_are_equal_within_a_factor(factor: float, equal: bool) -> None:
    errors = np.arange(1.0, 9)
    for sign in (1, -1) if np.isfinite(factor) else (1,):  # -1 is a score for which higher is better
        assert (statistics.equivalence_p_value(sign * errors, sign * factor * errors) < 0.05) is equal


@pytest.mark.parametrize("alike", [INF, 0.0])
def test_two_diverged_or_perfect_runs_are_equal_and_errors_of_different_sign_have_no_ratio(alike: float) -> None:
    errors = np.array([1.0, 2, 3, 4, 5, 6, alike, alike])
    assert statistics.equivalence_p_value(errors, errors) < 0.05
    assert np.isnan(statistics.equivalence_p_value(errors, np.append(errors[1:], -1.0)))
    assert statistics.equivalence_p_value(np.zeros(8), np.zeros(8)) < 0.05
    assert statistics.equivalence_p_value(np.zeros(8), errors) > 0.5


def test_pairing_gains_power_and_choosing_the_best_keeps_the_error_rate() -> None:
    """The benchmark ``tests/benchmarks/power.py`` has more trials."""
    assert power(sign_flips, seeds=10, groups=2, trials=300) > power(all_pairs, seeds=10, groups=2, trials=300) + 0.2
    assert false_claims(sign_flips, seeds=8, trials=600) <= 0.07
    assert false_claims(sign_flips, seeds=8, worse=2, diverged=0.2, trials=600) <= 0.07
    assert equivalence(seeds=10, factor=EQUIVALENCE_FACTOR, trials=300) <= 0.08


def test_the_interval_of_the_median_covers_the_true_median() -> None:
    generator = np.random.default_rng(0)
    for runs, least in ((5, 0.92), (6, 0.95), (10, 0.95)):
        assert coverage(statistics.median, lambda count: generator.lognormal(size=count), truth=1.0, runs=runs) >= least
