"""`adaptive` limits each unit's norm to a fraction of its weight norm, as the paper does."""

import pytest
import torch

from gradclip import Adaptive, Groups
from gradclip.errors import ClippingError
from gradclip.norms.units import unit_norms


def published(gradient, weight, ratio=0.01, eps=1e-3):
    """Return the gradient clipped by the rule of the paper, one unit after the other."""
    clipped = gradient.clone()
    units = range(weight.shape[0]) if weight.ndim > 1 else [...]
    for unit in units:
        largest = ratio * max(weight[unit].norm().item(), eps)
        norm = gradient[unit].norm().item()
        if norm > largest:
            clipped[unit] = gradient[unit] * largest / norm
    return clipped


def test_clipped_gradients_have_no_graph_even_outside_no_grad():
    layer = torch.nn.Linear(5, 7)
    clipped = Adaptive()({"weight": torch.ones(7, 5)}, {"weight": layer.weight}, {})[0]["weight"]
    assert not clipped.requires_grad


@pytest.mark.parametrize("shape", [(), (7,), (7, 5), (7, 5, 3), (7, 5, 3, 3)])
@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_equals_the_published_rule_unit_by_unit(shape, scale):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=generator)
    gradient = scale * torch.randn(shape, generator=generator)
    clipped = Adaptive()({"only": gradient}, {"only": weight}, {})[0]["only"]
    torch.testing.assert_close(clipped, published(gradient, weight))


def test_the_unit_of_a_linear_layer_is_an_output_not_an_input():
    layer = torch.nn.Linear(5, 7)
    torch.testing.assert_close(unit_norms([layer.weight.detach()]), layer.weight.detach().norm(dim=1))
    gradient = torch.zeros(7, 5)
    gradient[2] = 1.0  # one output spikes; the others must not change
    gradient[3] = 1e-5
    weights = torch.ones(7, 5)
    clipped = Adaptive()({"weight": gradient}, {"weight": weights}, {})[0]["weight"]
    assert torch.equal(clipped[3], gradient[3])
    assert clipped[2].norm().item() == pytest.approx(0.01 * 5**0.5)


def test_eps_lets_zero_weights_change():
    zero, gradient = {"bias": torch.zeros(4)}, {"bias": torch.tensor([1.0, 0.0, 0.0, 0.0])}
    assert Adaptive(eps=1e-3)(gradient, zero, {})[0]["bias"].norm().item() == pytest.approx(1e-5)


def test_the_head_can_be_excluded():
    tensors = {"body.weight": torch.ones(2, 2), "head.weight": torch.ones(2, 2)}
    clipped = Adaptive(exclude="head.*")(tensors, tensors, {})[0]
    assert torch.equal(clipped["head.weight"], tensors["head.weight"])
    assert clipped["body.weight"].max() < 0.1


@pytest.mark.parametrize("clipper", [Adaptive(exclude="haed.*"), Groups({"body.*": Adaptive(exclude="head.*")})])
def test_an_excluded_pattern_that_matches_nothing_is_refused(clipper):
    parameters = {"body.weight": torch.ones(2, 2), "head.weight": torch.ones(2, 2)}
    with pytest.raises(ClippingError, match=r"^clip: got exclude='\w+\.\*'.*; must match one of the parameters body"):
        clipper.init(parameters)


def test_several_patterns_are_refused_by_the_constructor():
    with pytest.raises(ClippingError, match=r"^exclude: got \['head.\*', 'stem.\*'\]; must be a name pattern"):
        Adaptive(exclude=["head.*", "stem.*"])


def test_units_whose_squares_overflow_are_clipped():
    gradient, weight = {"weight": torch.full((2, 2), 3e30)}, {"weight": torch.full((2, 2), 5e25)}
    clipped = Adaptive()(gradient, weight, {})[0]["weight"]
    torch.testing.assert_close(clipped, torch.full((2, 2), 5e23))


@pytest.mark.parametrize("shape", [(100,), (1, 100)])
def test_a_unit_whose_norm_exceeds_float32_is_clipped_and_not_zeroed(shape):
    gradients, parameters = {"weight": torch.full(shape, 3e38)}, {"weight": torch.ones(shape)}
    clipped = Adaptive(0.01)(gradients, parameters, {})[0]["weight"]
    torch.testing.assert_close(clipped, torch.full(shape, 0.01))
