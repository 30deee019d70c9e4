"""What is measured of stacked replicas, by hand."""

import pytest
import torch

from gradclip.stacked.clipping import Clipped
from gradclip.stacked.state import TensorOptions
from gradclip.stacked.telemetry import StackedRecorder, StackedStep
from gradclip.telemetry.record import GradientRecord
from gradclip.telemetry.steps import StepIndex


def records_of(gradients: torch.Tensor, clipped: Clipped, steps: int = 1) -> list[GradientRecord]:
    """The records of replicas, which have a weight and a bias of one element; each step has twice the gradients."""
    replicas, elements = gradients.shape
    sizes, still = [elements - 1, 1], torch.ones_like(gradients)
    recorder = StackedRecorder(("weight", "bias"), sizes, changes_direction=False, replicas=replicas, total_steps=5)
    recorder.start_block(torch.arange(replicas), TensorOptions(gradients.device, gradients.dtype))
    for step in range(steps):
        recorder.measure(StackedStep(still[:, 0], still[:, :2].T, gradients * 2**step, clipped, still, None))
        recorder.count_step(StepIndex(step + 1, 1, step))
        recorder.flush()
    return [recorder.record_of(replica, steps) for replica in range(replicas)]


@pytest.mark.parametrize("replicas", [1, 2])
def test_each_flush_keeps_its_steps(replicas: int) -> None:
    gradients = torch.tensor([[3.0, 4.0, 12.0]]).expand(replicas, 3)
    for record in records_of(gradients, Clipped(gradients, None, {}, None), steps=3):
        assert record.norm.tolist() == [13.0, 26.0, 52.0]
        assert record.max_abs.tolist() == [12.0, 24.0, 48.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1.0, 1e30, 1e-30])
def test_norms_neither_overflow_nor_vanish(dtype: torch.dtype, size: float) -> None:
    size = size**6 if dtype == torch.float64 else size
    gradients = torch.tensor([[3.0, 4.0, 12.0], [0.0, 0.0, 1.0]], dtype=dtype) * size
    records = records_of(gradients, Clipped(gradients, None, {}, None))
    assert records[0].norms[0].tolist() == pytest.approx([5 * size, 12 * size], rel=1e-6, abs=0.0)
    assert records[0].norm[0] == pytest.approx(13 * size, rel=1e-6, abs=0.0)
    assert records[1].norms[0].tolist() == pytest.approx([0.0, size], rel=1e-6, abs=0.0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_finite_gradient_beside_one_that_is_not_has_its_norm(bad: float) -> None:
    gradients = torch.tensor([[3e200, 4e200, bad]], dtype=torch.float64)
    (record,) = records_of(gradients, Clipped(gradients, None, {}, None))
    assert record.norms[0].tolist() == pytest.approx([5e200, bad], nan_ok=True)
    assert record.nonfinite[0].tolist() == [0, 1]


@pytest.mark.parametrize("coefficients", [[[0.5], [1.0], [0.0]], [[0.5, 0.25], [1.0, 1.0], [0.0, 0.0]]])
def test_norms_after_a_multiplication_are_those_of_the_product(coefficients: list[list[float]]) -> None:
    gradients = torch.tensor([[3.0, 4.0, 12.0], [6.0, 8.0, 0.0], [torch.inf, 1.0, 2.0]])
    factors = torch.tensor(coefficients)
    product = gradients * (factors if factors.shape[1] == 1 else factors[:, [0, 0, 1]])
    measured = records_of(gradients, Clipped(product, None, {}, None))
    derived = records_of(gradients, Clipped(product, factors, {}, None))
    for one, other in zip(derived, measured, strict=True):
        assert one.norms_clipped[0].tolist() == pytest.approx(other.norms_clipped[0].tolist(), nan_ok=True)


def test_only_the_skipped_replica_counts_as_skipped() -> None:
    gradients = torch.ones(2, 3)
    records = records_of(gradients, Clipped(gradients, None, {}, torch.tensor([True, False])))
    assert [record.skipped.tolist() for record in records] == [[True], [False]]
