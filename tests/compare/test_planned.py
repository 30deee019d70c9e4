"""Tests planned before the runs, and their levels after each batch of seeds."""

import numpy as np
import pytest

from gradclip.compare.planned import batch_levels, planned_tests
from gradclip.config.schema import BATCHES
from tests.benchmarks.power import ARMS, LEVEL, SHIFT, confirmed


def test_the_p_value_of_two_groups_by_hand() -> None:
    errors = np.array([[1.0, 2.0], [3.0, 4.0], [6.0, 5.0]])
    leads, p_values = planned_tests(errors, [(0, 1)])
    assert leads[0] == pytest.approx(1 / 3)
    assert p_values[0] == 1.0  # the sums of all four flips are one or three
    assert planned_tests(np.sort(errors), [(0, 1)])[1][0] == 0.25


def test_pairs_that_differ_more_leave_first_and_the_order_of_pairs_does_not_matter() -> None:
    errors = np.random.default_rng(0).normal(size=(10, 4)) + np.array([0, 0, 1.5, 30])
    pairs = [(0, 1), (0, 2), (0, 3)]
    leads, p_values = planned_tests(errors, pairs)
    assert p_values[2] == 2 / 2**10
    assert p_values[2] <= p_values[1] <= p_values[0]
    turned = planned_tests(errors, [(other, one) for one, other in pairs[::-1]])
    assert (turned[0][::-1] == -leads).all()
    assert (turned[1][::-1] == p_values).all()


def test_two_diverged_runs_are_equal() -> None:
    leads, p_values = planned_tests(np.full((8, 2), np.inf), [(0, 1)])
    assert (leads[0], p_values[0]) == (0, 1)


def test_the_levels_of_all_looks_sum_to_five_percent() -> None:
    for looks in ((10,), BATCHES, (7, 30, 31, 200)):
        assert sum(batch_levels(looks)) == pytest.approx(LEVEL)
        assert len(batch_levels(looks)) == len(looks)


def test_batches_of_seeds_keep_the_error_rate_and_save_seeds() -> None:
    """The benchmark ``tests/benchmarks/power.py`` has more trials."""
    levels = batch_levels(BATCHES)
    assert confirmed(BATCHES, levels, [0.0, 0.0], trials=400)[0] <= 0.07
    assert confirmed(BATCHES, levels, [0.0] * ARMS, trials=200)[0] <= 0.08
    assert confirmed(BATCHES, [LEVEL] * len(BATCHES), [0.0, 0.0], trials=400)[0] > 0.07  # without the levels
    power, seeds = confirmed(BATCHES, levels, [0.0, 2 * SHIFT], trials=100)
    assert power > 0.95
    assert seeds < 20
