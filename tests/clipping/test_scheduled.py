"""A scheduled threshold changes by equal steps or ratios, then stays constant."""

import pytest
import torch

from gradclip import Norm, Scheduled, Skip, Value
from gradclip.clipping.build import make_clipper
from gradclip.errors import ClippingError

GRADIENTS = {"only": torch.tensor([1e6])}


def thresholds(clipper, steps):
    state, seen = clipper.init(GRADIENTS), []
    for _ in range(steps):
        clipped, state, _ = clipper(GRADIENTS, GRADIENTS, state)
        seen.append(clipped["only"].item())
    return seen


def test_a_linear_schedule_changes_by_equal_steps_and_then_stays_constant():
    expected = [20.0, 16.0, 12.0, 8.0, 4.0, 4.0, 4.0]
    assert thresholds(Scheduled(Value(2.0), 10.0, 2.0, steps=4), 7) == pytest.approx(expected)


def test_an_exponential_schedule_changes_by_equal_ratios():
    expected = [2.0, 4.0, 8.0, 16.0, 16.0]
    assert thresholds(Scheduled(Norm(2.0), 1.0, 8.0, 3, "exponential"), 5) == pytest.approx(expected)


def test_a_constant_schedule_equals_the_clipper():
    assert thresholds(Scheduled(Norm(2.0)), 3) == thresholds(Norm(2.0), 3) == pytest.approx([2.0] * 3)


def test_the_scheduled_clipper_keeps_its_own_state():
    clipper = Scheduled(Skip(1.0, patience=2), 1.0, 10.0, steps=10)
    assert set(clipper.init(GRADIENTS)) == {"step", "skipped", "in_a_row"}
    assert thresholds(clipper, 4) == [0.0, 0.0, 1e6, 1e6]
    assert clipper.may_skip
    assert Scheduled(Value(1.0)).changes_direction


def test_an_unknown_shape_is_refused():
    with pytest.raises(ClippingError, match=r"^shape: got 'cosine'; choose from linear, exponential$"):
        Scheduled(Norm(1.0), shape="cosine")


def test_settings_build_a_schedule_also_inside_groups():
    schedule = {"start": 2.0, "end": 1.0, "steps": 1, "shape": "linear"}
    assert make_clipper("norm", schedule, value=1.0) == Scheduled(Norm(1.0), **schedule)
    groups = [{"parameters": "only", "value": 10.0}]
    clipper = make_clipper("groups", schedule, method="norm", value=1.0, groups=groups)
    assert thresholds(clipper, 3) == pytest.approx([20.0, 10.0, 10.0])


@pytest.mark.parametrize(
    ("shape", "factor"), [("linear", 1 + 2 * 20_000_001 / 40_000_000), ("exponential", 3 ** (20_000_001 / 40_000_000))]
)
def test_steps_beyond_16_million_are_counted_one_by_one(shape, factor):
    clipper = Scheduled(Norm(1.0), start=1.0, end=3.0, steps=40_000_000, shape=shape)
    gradients = {"only": torch.tensor([100.0], dtype=torch.float64)}
    clipped, _, _ = clipper(gradients, gradients, {"step": torch.tensor(20_000_001)})
    assert clipped["only"].item() == pytest.approx(factor, rel=1e-12)
