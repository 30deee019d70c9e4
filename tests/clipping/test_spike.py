"""`spike` follows the published rule of AdaClip, with a running maximum for each tensor."""

import numpy as np
import pytest
import torch

from gradclip import Spike

random = np.random.default_rng(0)
GRADIENTS = random.normal(0, 1, (60, 8))
GRADIENTS[[10, 30, 31], [2, 5, 0]] *= 50.0
GRADIENTS[20] *= 1e3


def published(steps, multiple=1.0, theta=0.999):
    """Yield one tensor's gradients after clipping by AdaClip; the paper uses a multiple of 1."""
    remembered = 0.0
    for number, gradient in enumerate(steps, start=1):
        largest = np.abs(gradient).max()
        remembered = theta * remembered + (1 - theta) * largest
        limit = multiple * remembered / (1 - theta**number)
        yield np.where(np.abs(gradient) > limit, gradient / largest * limit, gradient)


def clipped_gradients(clipper, steps):
    state, kept = clipper.init({"only": torch.zeros(8)}), []
    for step in steps:
        gradients = {"only": torch.tensor(step)}
        clipped, state, _ = clipper(gradients, gradients, state)
        kept.append(clipped["only"].numpy())
    return kept


@pytest.mark.parametrize("settings", [(1.0, 0.999), (1.5, 0.9), (0.5, 0.0)])
def test_equals_the_published_rule(settings):
    expected = list(published(GRADIENTS, *settings))
    assert np.not_equal(expected, GRADIENTS).any(axis=1).sum() >= 2
    np.testing.assert_allclose(clipped_gradients(Spike(*settings), GRADIENTS), expected, rtol=1e-9)


def test_gradients_with_a_constant_maximum_are_unchanged_bit_for_bit():
    steps = GRADIENTS / np.abs(GRADIENTS).max(axis=1, keepdims=True)
    np.testing.assert_array_equal(clipped_gradients(Spike(), steps), steps)


def test_each_tensor_has_its_own_maximum():
    clipper = Spike(theta=0.5)
    state = clipper.init({"first": torch.zeros(1), "second": torch.zeros(1)})
    for size in (1.0, 4.0):
        gradients = {"first": torch.tensor([size]), "second": torch.tensor([100.0])}
        clipped, state, _ = clipper(gradients, gradients, state)
    torch.testing.assert_close(clipped, {"first": torch.tensor([3.0]), "second": torch.tensor([100.0])})


def test_a_tensor_that_appears_later_starts_from_its_own_first_gradient():
    clipper = Spike()
    state = clipper.init({"early": torch.zeros(1), "late": torch.zeros(1)})
    early, both = {"early": torch.ones(1)}, {"early": torch.ones(1), "late": torch.full((1,), 7.0)}
    for gradients in (early, early, both):
        clipped, state, _ = clipper(gradients, gradients, state)
    assert clipped["late"].item() == 7.0
