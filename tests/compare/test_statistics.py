"""Statistics against SciPy, simulations and cases computed by hand."""

import numpy as np
import pytest
from scipy import stats

from gradclip.compare import statistics

NAN, INF = float("nan"), float("inf")


def test_median_and_interval_equal_those_of_scipy() -> None:
    errors = np.random.default_rng(0).lognormal(size=20)
    estimate = statistics.median(errors)
    resampled = stats.bootstrap((errors,), np.median, n_resamples=2000, method="percentile", random_state=0)
    assert estimate == (np.median(errors), *resampled.confidence_interval)


def test_interquartile_mean_drops_a_quarter_at_each_end() -> None:
    assert statistics.interquartile_mean(np.array([-100.0, 1, 2, 3, 4, 5, 6, 900])).value == 3.5


@pytest.mark.parametrize(("diverged", "median", "interquartile_mean"), [(1, 3.5, 3.5), (3, INF, INF), (6, INF, INF)])
def test_diverged_runs_count_as_worst(diverged: int, median: float, interquartile_mean: float) -> None:
    errors = np.array([1.0, 2, 3, 4, 5, 6][: 6 - diverged] + [INF] * diverged)
    assert statistics.median(errors).value == median
    assert statistics.interquartile_mean(errors).value == interquartile_mean


def test_an_interval_that_reaches_diverged_runs_is_unbounded() -> None:
    estimate = statistics.median(np.array([1.0, 2, 3, INF, INF]))
    assert estimate.value == 3
    assert estimate.low < 3
    assert estimate.high == INF


def test_one_run_has_no_interval_and_that_of_equal_runs_is_a_point() -> None:
    assert np.isnan(statistics.median(np.array([1.0])).low)
    assert statistics.median(np.array([INF, INF])) == (INF, INF, INF)


def test_probability_of_improvement_counts_ties_half() -> None:
    assert statistics.probability_of_improvement(np.array([1.0, 2]), np.array([2.0, INF])).value == 3.5 / 4
    assert statistics.probability_of_improvement(np.array([INF] * 3), np.array([INF] * 3)).value == 0.5


def test_probability_of_improvement_follows_from_the_mann_whitney_statistic() -> None:
    generator = np.random.default_rng(1)
    errors, others = generator.normal(size=13), generator.normal(0.5, size=9)
    u = stats.mannwhitneyu(others, errors).statistic  # how often the other is larger
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


def test_the_interval_does_not_collapse_where_all_runs_win() -> None:
    estimate = statistics.probability_of_improvement(np.array([1.0, 2, 3]), np.array([4.0, 5, 6]))
    assert estimate.high == 1
    assert estimate.low == pytest.approx(0.5, abs=0.01)


def test_the_p_value_is_exact_for_few_runs_even_with_ties() -> None:
    assert statistics.difference_p_value(np.array([1.0, 2, 3]), np.array([INF] * 3)) == pytest.approx(0.1)
    assert statistics.difference_p_value(np.array([INF] * 3), np.array([INF] * 3)) == 1


def test_holm_adjustment_by_hand() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([]) == []


@pytest.mark.parametrize("probability", [0.65, 0.75])
def test_the_seeds_needed_have_a_power_of_80_percent(probability: float) -> None:
    runs = int(statistics.seeds_needed(probability))
    shift = stats.norm.ppf(probability) * np.sqrt(2)
    generator = np.random.default_rng(3)
    samples = generator.normal(size=(1000, runs)), generator.normal(shift, size=(1000, runs))
    found = stats.mannwhitneyu(*samples, axis=1).pvalue < 0.05
    assert 0.74 <= found.mean() <= 0.87


def test_more_tests_need_more_seeds() -> None:
    assert statistics.seeds_needed(0.75, tests=10) > statistics.seeds_needed(0.75) > statistics.seeds_needed(0.9)
