"""`parameter_ema` follows the published rule of AdaGC, tensor by tensor."""

import numpy as np
import pytest
import torch

from gradclip import ParameterEMA

random = np.random.default_rng(0)
NORMS = random.lognormal(0, 0.3, (150, 2)) * [0.3, 2.0]
NORMS[[3, 60, 120, 121]] *= 40.0


def published(norms, relative=1.05, beta=0.98, warmup=100, absolute=1.0):
    """Yield the norm of each tensor after clipping by algorithm 1 of the paper."""
    average = np.full(norms.shape[1], np.inf)
    for step, norm in enumerate(norms):
        if step < warmup:
            kept = norm * min(1.0, absolute / np.linalg.norm(norm))
            average = np.minimum(average, kept)
        else:
            kept = norm * np.minimum(1.0, relative * average / norm)
            average = beta * average + (1 - beta) * kept
        yield kept


def clipped_norms(clipper, norms):
    parameters = {"first": torch.zeros(2), "second": torch.zeros(1)}
    state, kept = clipper.init(parameters), []
    for first, second in norms:
        gradients = {"first": torch.tensor([0.6, 0.8], dtype=torch.float64) * first, "second": torch.tensor([second])}
        clipped, state, _ = clipper(gradients, parameters, state)
        kept.append([gradient.norm().item() for gradient in clipped.values()])
    return np.array(kept)


@pytest.mark.parametrize("settings", [(1.05, 0.98, 100, 1.0), (2.0, 0.9, 10, 5.0)])
def test_equals_the_published_rule(settings):
    expected = np.array(list(published(NORMS, *settings)))
    assert (expected < NORMS).any(axis=1).sum() >= 4
    np.testing.assert_allclose(clipped_norms(ParameterEMA(*settings), NORMS), expected)


def test_a_gradient_of_zero_does_not_freeze_a_tensor():
    norms = np.ones((20, 2))
    norms[2, 0] = 0.0
    norms[:10, 1] = 0.0  # the second tensor has zero gradients throughout the warm-up
    kept = clipped_norms(ParameterEMA(warmup=5, warmup_norm=10.0), norms)
    np.testing.assert_allclose(kept[3:, 0], 1.0)
    np.testing.assert_allclose(kept[10:, 1], 1.0)


def test_each_tensor_has_its_own_threshold():
    norms = np.tile([1.0, 100.0], (30, 1))
    norms[20] = [10.0, 1000.0]
    kept = clipped_norms(ParameterEMA(value=2.0, warmup=5, warmup_norm=1e3), norms)
    assert kept[20] == pytest.approx([2.0, 200.0])


@pytest.mark.parametrize(("steps_before", "second"), [(0, np.nan), (5, 1.0)], ids=["warming up", "warmed up"])
def test_a_nan_affects_all_tensors_during_warm_up_and_only_its_own_tensor_later(steps_before, second):
    kept = clipped_norms(ParameterEMA(warmup=5, warmup_norm=10.0), [[1.0, 1.0]] * steps_before + [[np.nan, 1.0]])
    np.testing.assert_array_equal(kept[-1], [np.nan, second])
