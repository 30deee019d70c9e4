"""`stabilize` follows the published rule of AdaGN, with running averages for each tensor."""

import numpy as np
import pytest
import torch

from gradclip import Stabilize
from tests.support.clipping import clipped_norms

random = np.random.default_rng(0)
NORMS = random.lognormal(0, 0.5, 80)
NORMS[[10, 40, 41]] *= [30, 1e3, 1e-3]


def published(norms, size=1.0, gamma1=0.7, gamma2=0.9, eps=1e-8):
    """Yield one tensor's norms after AdaGN; the paper uses a size of 1."""
    mean = square = 0.0
    for number, norm in enumerate(norms, start=1):
        mean = gamma1 * mean + (1 - gamma1) * norm
        square = gamma2 * square + (1 - gamma2) * norm**2
        corrected = square / (1 - gamma2**number)
        yield size * mean / (1 - gamma1**number) / (np.sqrt(corrected) + eps)


@pytest.mark.parametrize("settings", [(1.0, 0.7, 0.9, 1e-8), (0.1, 0.5, 0.99, 1e-3), (5.0, 0.0, 0.0, 1e-8)])
def test_equals_the_published_rule(settings):
    assert clipped_norms(Stabilize(*settings), NORMS) == pytest.approx(list(published(NORMS, *settings)), rel=1e-9)


@pytest.mark.parametrize("size", [1e-5, 1.0, 1e200])
def test_constant_norms_of_any_size_become_the_threshold(size):
    kept = clipped_norms(Stabilize(2.0), [size] * 30)
    assert kept == pytest.approx([2.0] * 30, rel=2e-3)  # eps is a thousandth of 1e-5


def test_each_tensor_has_its_own_averages():
    clipper = Stabilize()
    gradients = {"small": torch.tensor([1e-3]), "large": torch.tensor([-1e3])}
    clipped, _, _ = clipper(gradients, gradients, clipper.init(gradients))
    torch.testing.assert_close(clipped, {"small": torch.ones(1), "large": -torch.ones(1)}, rtol=1e-4, atol=0)


def test_a_vanishing_gradient_after_a_large_one_stays_finite():
    assert np.isfinite(clipped_norms(Stabilize(), [1.0, 1e-300, 0.0, 1.0])).all()
