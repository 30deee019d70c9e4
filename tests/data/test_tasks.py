"""The long-memory tasks generate sequences whose targets follow from their inputs."""

import numpy as np
import pytest

from gradclip.data.tasks import (
    TASKS,
    adding,
    copy,
    multiplication,
    noiseless_memorization,
    random_permutation,
    temporal_order,
)
from gradclip.errors import DataError

COUNT = 4000
every_task = pytest.mark.parametrize("name", TASKS)


def draw(task, count=COUNT, seed=0):
    return task.draw(np.random.default_rng(seed), count)


def symbols(inputs):
    """Return the numbers of one-hot symbols; fail for any other input."""
    assert set(np.unique(inputs)) == {0.0, 1.0}
    np.testing.assert_array_equal(inputs.sum(axis=2), 1.0)
    return inputs.argmax(axis=2)


@every_task
def test_shapes_and_types_match_the_task(name):
    task = TASKS[name](30)
    inputs, target = draw(task, 7)
    assert inputs.shape == (7, task.steps, task.inputs)
    assert inputs.dtype == np.float32
    if task.score_scale.score.name == "mse":
        assert (target.shape, target.dtype, task.outputs) == ((7, 1), np.float32, 1)
    else:
        assert target.shape == ((7, task.steps) if task.every_step else (7,))
        assert target.dtype == np.int64
        assert target.max() < task.outputs


@every_task
def test_sequences_depend_only_on_the_seed(name):
    first, again, other = (draw(TASKS[name](30), 5, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(mine, same) for mine, same in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("length", [10, 20, 55])
@pytest.mark.parametrize(("task", "combine", "mean"), [(adding, np.sum, 1.0), (multiplication, np.prod, 0.25)])
def test_two_marked_numbers_are_combined(task, combine, mean, length):
    drawn = task(length)
    inputs, target = draw(drawn)
    marks, numbers = inputs[:, :, 0], inputs[:, :, 1]
    np.testing.assert_array_equal(marks.sum(axis=1), 2.0)
    first, second = np.nonzero(marks)[1].reshape(-1, 2).T
    assert (first.min(), first.max()) == (0, length // 10 - 1)
    assert (second.min(), second.max()) == (length // 10, length // 2 - 1)
    np.testing.assert_allclose(target[:, 0], combine(numbers[marks == 1].reshape(-1, 2), axis=1), rtol=1e-6)
    assert (numbers.min(), numbers.max()) == (pytest.approx(0.0, abs=1e-2), pytest.approx(1.0, abs=1e-2))
    assert drawn.score_scale.baseline == pytest.approx(np.mean((target - mean) ** 2), rel=0.05)


def test_baselines_of_numeric_targets_equal_their_variances():
    assert adding(20).score_scale.baseline == pytest.approx(2 / 12)  # variance of the sum of two uniform numbers
    assert multiplication(20).score_scale.baseline == pytest.approx((1 / 3) ** 2 - (1 / 2) ** 4)


@pytest.mark.parametrize("length", [10, 20, 45])
@pytest.mark.parametrize(("count", "tenths"), [(2, [1, 5]), (3, [1, 3, 6])])
def test_the_class_is_the_order_of_a_and_b(count, tenths, length):
    inputs, target = draw(temporal_order(length, symbols=count))
    sequence = symbols(inputs)
    which, where = np.nonzero(sequence < 2)
    np.testing.assert_array_equal(np.bincount(which), count)
    positions = where.reshape(-1, count)
    for column, tenth in enumerate(tenths):
        first = length * tenth // 10
        assert (positions[:, column].min(), positions[:, column].max()) == (first, first + length // 10 - 1)
    order = sequence[which, where].reshape(-1, count)
    np.testing.assert_array_equal(target, (order * 2 ** np.arange(count)).sum(axis=1))
    np.testing.assert_allclose(np.bincount(target) / COUNT, 0.5**count, atol=0.03)
    assert set(np.unique(sequence)) == set(range(6))


def test_the_class_is_the_first_symbol():
    inputs, target = draw(random_permutation(12))
    sequence = symbols(inputs)
    np.testing.assert_array_equal(target, sequence[:, 0])
    assert set(np.unique(target)) == {0, 1}
    assert target.mean() == pytest.approx(0.5, abs=0.03)
    assert (sequence[:, 1:].min(), sequence[:, 1:].max()) == (2, 99)


@pytest.mark.parametrize(("task", "values", "cue"), [(noiseless_memorization, 5, 30), (copy, 8, 29)])
def test_the_pattern_is_the_target_after_the_cue(task, values, cue):
    drawn = task(20)
    inputs, target = draw(drawn, 300)
    sequence = symbols(inputs)
    blank = values
    pattern = sequence[:, :10]
    assert set(np.unique(pattern)) == set(range(values))
    np.testing.assert_array_equal(target[:, -10:], pattern)
    np.testing.assert_array_equal(target[:, :-10], blank)
    rest = np.delete(sequence, [*range(10), cue], axis=1)
    np.testing.assert_array_equal(rest, blank)
    np.testing.assert_array_equal(sequence[:, cue], values + 1)
    assert drawn.steps == 40
    assert drawn.score_scale.baseline == pytest.approx((30 + 10 / values) / 40)


@pytest.mark.parametrize(
    ("task", "least"), [(adding, 10), (multiplication, 10), (temporal_order, 10), (random_permutation, 2), (copy, 1)]
)
def test_too_short_sequences_are_refused(task, least):
    task(least)
    with pytest.raises(
        DataError, match=rf"^data\.length: got {least - 1}; must be a whole number from {least} to 2147483647$"
    ):
        task(least - 1)


def test_other_sizes_out_of_range_are_refused():
    with pytest.raises(DataError, match=r"^data\.symbols: got 5; choose from 2, 3$"):
        temporal_order(20, symbols=5)
    with pytest.raises(DataError, match=r"^data\.values: got 1; must be a whole number from 2 to 2147483647$"):
        copy(20, values=1)
    with pytest.raises(DataError, match=r"^data\.positions: got 0; must be a whole number from 1 to 2147483647$"):
        noiseless_memorization(20, positions=0)
