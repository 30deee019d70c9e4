"""Measurements of stacked replicas equal values computed by hand."""

from collections.abc import Sequence

import pytest
import torch

from gradclip.stacked.measurements import StackedMeasurements, StackedStep
from gradclip.stacked.telemetry import StackedRecorder
from gradclip.telemetry.record import GradientRecord
from gradclip.telemetry.steps import StepIndex


def records_of(
    gradients: torch.Tensor, clipped: torch.Tensor, steps: int = 1, flush_every: int = 1, skipped: Sequence[float] = ()
) -> list[GradientRecord]:
    """Record steps of replicas that have a weight and a bias of one element, and return their records.

    Gradients double with each step. The weights start at one, and each step adds its number to them.

    Args:
        gradients: ``[replicas, elements]``.
        clipped: gradients after clipping, of the same shape, or coefficients.
        steps: number of steps.
        flush_every: number of steps to flush at once.
        skipped: whether each replica's updates are skipped; none by default.
    """
    (replicas, elements), weights = gradients.shape, torch.ones_like(gradients)
    multiplies = clipped.shape != gradients.shape
    measurements = StackedMeasurements(weights, [elements - 1, 1], multiplies=multiplies, changes_direction=True)
    recorder = StackedRecorder(("weight", "bias"), replicas, steps)
    recorder.start_block(torch.arange(replicas), measurements)
    ones, flags = torch.ones(3, replicas), torch.tensor([skipped or [0.0] * replicas])
    for step in range(1, steps + 1):
        weights += step
        factor = 2.0 ** (step - 1)
        left = StackedStep(torch.cat([ones, flags]), gradients * factor, clipped if multiplies else clipped * factor)
        recorder.record_step(left, weights, StepIndex(step, 1, step - 1), measures_update=step % 2 == 0)
        if step % flush_every == 0:
            recorder.flush()
    return [recorder.record_of(replica, steps) for replica in range(replicas)]


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("flush_every", [1, 2, 4])
@pytest.mark.parametrize("kept_steps", [1, 2, 20])
def test_all_steps_are_recorded_for_any_number_kept_and_flushed_at_once(
    replicas: int, flush_every: int, kept_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = torch.tensor([[3.0, 4.0, 12.0]]).expand(replicas, 3)
    monkeypatch.setattr("gradclip.stacked.measurements.KEPT_BYTES", kept_steps * replicas * 3 * 4)
    for record in records_of(gradients, gradients / 2, steps=4, flush_every=flush_every):
        assert record.step.tolist() == [1, 2, 3, 4]
        assert record.norm.tolist() == [13.0, 26.0, 52.0, 104.0]
        assert record.norm_clipped.tolist() == [6.5, 13.0, 26.0, 52.0]
        assert record.max_abs.tolist() == [12.0, 24.0, 48.0, 96.0]
        assert record.weights[:, 1].tolist() == [2.0, 4.0, 7.0, 11.0]
        assert record.updates[:, 1].tolist() == pytest.approx([torch.nan, 2.0, torch.nan, 4.0], nan_ok=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1.0, 1e30, 1e-30])
def test_norms_neither_overflow_nor_underflow(dtype: torch.dtype, size: float) -> None:
    size = size**6 if dtype == torch.float64 else size
    gradients = torch.tensor([[3.0, 4.0, 12.0], [0.0, 0.0, 1.0]], dtype=dtype) * size
    records = records_of(gradients, gradients)
    assert records[0].norms[0].tolist() == pytest.approx([5 * size, 12 * size], rel=1e-6, abs=0.0)
    assert records[0].norm[0] == pytest.approx(13 * size, rel=1e-6, abs=0.0)
    assert records[1].norms[0].tolist() == pytest.approx([0.0, size], rel=1e-6, abs=0.0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_finite_gradient_beside_a_nonfinite_one_keeps_its_norm(bad: float) -> None:
    gradients = torch.tensor([[3e200, 4e200, bad]], dtype=torch.float64)
    (record,) = records_of(gradients, gradients)
    assert record.norms[0].tolist() == pytest.approx([5e200, bad], nan_ok=True)
    assert record.nonfinite[0].tolist() == [0, 1]


@pytest.mark.parametrize("coefficients", [[[0.5], [1.0], [0.0]], [[0.5, 0.25], [1.0, 1.0], [0.0, 0.0]]])
def test_measurements_from_coefficients_equal_those_from_clipped_gradients(coefficients: list[list[float]]) -> None:
    gradients = torch.tensor([[3.0, 4.0, 12.0], [6.0, 8.0, 0.0], [torch.inf, 1.0, 2.0]])
    factors = torch.tensor(coefficients)
    product = gradients * (factors if factors.shape[1] == 1 else factors[:, [0, 0, 1]])
    measured, derived = records_of(gradients, product), records_of(gradients, factors)
    for one, other in zip(derived, measured, strict=True):
        assert one.norms_clipped[0].tolist() == pytest.approx(other.norms_clipped[0].tolist(), nan_ok=True)
        assert one.inner_product.tolist() == pytest.approx(other.inner_product.tolist(), nan_ok=True)


def test_only_a_replica_whose_update_was_skipped_counts_as_skipped() -> None:
    gradients = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])  # a replica without a gradient has no update to skip
    records = records_of(gradients, gradients, skipped=[1.0, 0.0, 1.0])
    assert [record.skipped.tolist() for record in records] == [[True], [False], [False]]
