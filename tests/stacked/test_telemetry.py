"""What is measured of stacked replicas, by hand."""

import pytest
import torch

from gradclip.stacked.telemetry import StackedRecorder, StackedStep
from gradclip.telemetry.recorders import StepIndex


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 1e30), (torch.float64, 1e200), (torch.float64, 1e-200)])
def test_norms_neither_overflow_nor_vanish(dtype: torch.dtype, size: float) -> None:
    gradients = torch.tensor([[3.0, 4.0, 12.0], [0.0, 0.0, 1.0]], dtype=dtype) * size
    zeros = torch.zeros(2, dtype=dtype)
    recorder = StackedRecorder(("weight", "bias"), [2, 1], changes_direction=False)
    still = torch.ones_like(gradients)
    recorder.record_step(
        StepIndex(1, 1, 0), StackedStep(zeros, zeros, zeros, gradients, gradients, still, still, zeros > 0)
    )
    recorder.flush([0, 1])
    record = recorder.record_of(0)
    assert record.norms[0].tolist() == pytest.approx([5 * size, 12 * size], rel=1e-6, abs=0.0)
    assert record.norm[0] == pytest.approx(13 * size, rel=1e-6, abs=0.0)
    assert recorder.record_of(1).norms[0].tolist() == pytest.approx([0.0, size], rel=1e-6, abs=0.0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_finite_gradient_beside_one_that_is_not_has_its_norm(bad: float) -> None:
    gradients = torch.tensor([[bad, 1.0, 3e200, 4e200]], dtype=torch.float64)
    zero, still = torch.zeros(1, dtype=torch.float64), torch.ones_like(gradients)
    recorder = StackedRecorder(("bad", "finite"), [2, 2], changes_direction=False)
    recorder.record_step(
        StepIndex(1, 1, 0), StackedStep(zero, zero, zero, gradients, gradients, still, still, zero > 0)
    )
    recorder.flush([0])
    assert recorder.record_of(0).norms[0].tolist() == pytest.approx([bad, 5e200], nan_ok=True)
