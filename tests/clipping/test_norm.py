"""`norm` rescales all gradients together as torch does, also where squares overflow."""

import pytest
import torch

from gradclip import Norm
from gradclip.clipping.rescaling import rescale_in_place


def clip(value, *gradients):
    named = {str(index): torch.as_tensor(gradient) for index, gradient in enumerate(gradients)}
    clipped, state, report = Norm(value)(named, named, {})
    assert state == {}
    return [*clipped.values()], report


def test_gradients_are_rescaled_to_the_threshold():
    (clipped,), report = clip(1.0, [3.0, 4.0])
    torch.testing.assert_close(clipped, torch.tensor([0.6, 0.8]))
    assert [float(scalar) for scalar in report[:2]] == pytest.approx([5.0, 1.0])
    assert report.clipped


def test_the_norm_is_taken_over_all_tensors_together():
    (first, second), report = clip(2.5, [[3.0]], 4.0)
    torch.testing.assert_close(first, torch.tensor([[1.5]]))
    torch.testing.assert_close(second, torch.tensor(2.0))
    assert report.norm == 5.0


def test_a_norm_equal_to_the_threshold_is_not_clipped():
    (clipped,), report = clip(5.0, [3.0, 4.0])
    assert clipped.tolist() == [3.0, 4.0]
    assert not report.clipped


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threshold", [0.1, 1.0, 1e6])
def test_equals_torch_up_to_the_epsilon_that_torch_adds(dtype, threshold):
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in [(20, 25), (25,), (25, 1), ()]]
    for parameter in parameters:
        parameter.grad = 10 * torch.randn(parameter.shape, generator=generator, dtype=dtype)
    clipped, report = clip(threshold, *(parameter.grad.clone() for parameter in parameters))
    norm = torch.nn.utils.clip_grad_norm_(parameters, threshold)
    # torch divides by the norm plus 1e-6, which is about 2e-8 of this norm
    torch.testing.assert_close(clipped, [parameter.grad for parameter in parameters], rtol=1e-6, atol=0.0)
    assert report.norm.item() == pytest.approx(norm.item())


def test_finite_gradients_whose_squares_overflow_are_rescaled_and_not_zeroed():
    (clipped,), report = clip(1.0, [3e20, -4e20])
    torch.testing.assert_close(clipped, torch.tensor([0.6, -0.8]))
    assert report.norm.item() == pytest.approx(5e20)


def test_an_infinite_element_becomes_nan_and_the_others_become_zero_as_in_torch():
    (ours,), _ = clip(1.0, [1.0, torch.inf, -2.0])
    parameter = torch.nn.Parameter(torch.zeros(3))
    parameter.grad = torch.tensor([1.0, torch.inf, -2.0])
    torch.nn.utils.clip_grad_norm_([parameter], 1.0)
    assert ours[1].isnan()
    assert ours[[0, 2]].abs().tolist() == [0.0, 0.0]
    torch.testing.assert_close(ours, parameter.grad, equal_nan=True)


@pytest.mark.parametrize("order", [1.0, 3.0, 9.0, 30.0])
@pytest.mark.parametrize("size", [1e-35, 1e20, 3e38])
def test_no_order_overflows_or_underflows(order, size):
    (clipped,) = Norm(size / 100, order)({"only": torch.full((4,), size)}, {}, {})[0].values()
    torch.testing.assert_close(clipped, torch.full((4,), size / 100 / 4 ** (1 / order)), rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_coefficient_is_not_rounded_to_16_bits(dtype):
    gradients = {"only": torch.full((2000, 500), 6e4).to(dtype)}  # norm 6e7; its coefficient underflows in float16
    before = {name: gradient.clone() for name, gradient in gradients.items()}
    out_of_place, in_place = Norm(1.0)(before, {}, {})[0]["only"], gradients["only"]
    rescale_in_place(gradients, Norm(1.0).coefficients(gradients, {}, {})[0])
    torch.testing.assert_close(in_place, out_of_place, rtol=0, atol=0)
    assert in_place.dtype == dtype
    assert in_place.double().norm() == pytest.approx(1.0, rel=2**-9)  # the elements are rounded


@pytest.mark.parametrize("order", [1.0, 2.0, 3.0, torch.inf])
def test_other_orders_equal_torch(order):
    parameter = torch.nn.Parameter(torch.zeros(30))
    parameter.grad = torch.linspace(-3.0, 4.0, 30)
    ours = Norm(1.5, order)({"only": parameter.grad.clone()}, {}, {})[0]["only"]
    torch.nn.utils.clip_grad_norm_([parameter], 1.5, norm_type=order)
    torch.testing.assert_close(ours, parameter.grad)
