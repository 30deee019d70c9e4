"""`normalize` gives any gradient but zero the same norm."""

import pytest
import torch

from gradclip import Normalize


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_the_norm_always_becomes_the_given_value(scale):
    gradients = {"weight": torch.tensor([3.0, 4.0]) * scale, "bias": torch.zeros(2)}
    clipped, _, report = Normalize(2.0)(gradients, gradients, {})
    torch.testing.assert_close(clipped["weight"], torch.tensor([1.2, 1.6]))
    assert not clipped["bias"].any()
    assert report.norm_clipped.item() == pytest.approx(2.0)


def test_a_gradient_too_small_to_reach_the_norm_stays_finite():
    (grown,) = Normalize(1.0)({"only": torch.tensor([1e-39])}, {}, {})[0].values()
    assert grown.item() == pytest.approx(0.34, rel=0.01)
