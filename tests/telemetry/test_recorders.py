"""A recorder measures norms and cosine accurately at any magnitude."""

import numpy as np
import pytest
import torch
from torch import nn

from gradclip.telemetry.recorders import CopyingRecorder, MeasuringRecorder
from gradclip.telemetry.steps import Effect, StepIndex


@pytest.mark.parametrize("kind", [CopyingRecorder, MeasuringRecorder])
@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 1e38), (torch.float64, 1e200), (torch.float64, 1e-200)])
def test_norms_and_cosine_are_accurate_for_extreme_magnitudes(kind, dtype, size):
    parameter = nn.Parameter(torch.full((2,), size, dtype=dtype))
    recorder = kind([("only", parameter)], Effect.ANY)
    parameter.grad = torch.tensor([3 * size / 4, size], dtype=dtype)
    recorder.record_gradients(measure_updates=True)
    parameter.grad = torch.tensor([0.0, 1.0], dtype=dtype)
    recorder.record_step(StepIndex(1, 1, 0), torch.tensor(1.0), [])
    record = recorder.flush()
    np.testing.assert_allclose(record.norm, 1.25 * size, rtol=1e-6)
    np.testing.assert_allclose(record.cosine, 0.8, rtol=1e-6)
    np.testing.assert_allclose(record.weights, size * 2**0.5, rtol=1e-6)


@pytest.mark.parametrize("kind", [CopyingRecorder, MeasuringRecorder])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_finite_gradient_beside_a_non_finite_one_has_an_accurate_norm(kind, bad):
    parameters = [nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2)]
    recorder = kind([("bad", parameters[0]), ("finite", parameters[1])], Effect.LENGTH)
    parameters[0].grad, parameters[1].grad = (torch.tensor([3e200, x], dtype=torch.float64) for x in (bad, 4e200))
    recorder.record_gradients(measure_updates=False)
    recorder.record_step(StepIndex(1, 1, 0), torch.tensor(1.0), [])
    np.testing.assert_allclose(recorder.flush().norms, [[bad, 5e200]], rtol=1e-15)
