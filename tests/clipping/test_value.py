"""`value` clips each element, bit for bit as torch does."""

import pytest
import torch

from gradclip import Value


def clip(value, gradient):
    named = {"weight": torch.as_tensor(gradient)}
    clipped, state, report = Value(value)(named, named, {})
    assert state == {}
    return clipped["weight"], report


def test_elements_beyond_the_threshold_are_clipped_and_the_others_kept():
    clipped, report = clip(5.0, [-7.0, 0.5, 5.0, 6.0])
    assert clipped.tolist() == [-5.0, 0.5, 5.0, 5.0]
    assert report.norm.item() == pytest.approx((49 + 0.25 + 25 + 36) ** 0.5)
    assert report.norm_clipped.item() == pytest.approx((25 + 0.25 + 25 + 25) ** 0.5)
    assert report.clipped


def test_the_threshold_limits_elements_not_the_norm():
    clipped, report = clip(1.0, torch.ones(100))
    assert torch.equal(clipped, torch.ones(100))
    assert report.norm_clipped == 10.0
    assert not report.clipped


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("threshold", [0.1, 1.0, 1e6])
def test_equals_torch_bit_for_bit(dtype, threshold):
    parameter = torch.nn.Parameter(torch.zeros(20, 25, dtype=dtype))
    parameter.grad = torch.randn(20, 25, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    clipped, _ = clip(threshold, parameter.grad.clone())
    torch.nn.utils.clip_grad_value_([parameter], threshold)
    assert torch.equal(clipped, parameter.grad)


@pytest.mark.parametrize(("dtype", "threshold"), [(torch.float16, 1e6), (torch.bfloat16, 1e39), (torch.float32, 1e39)])
@pytest.mark.parametrize("lower", [None, -1.0])
def test_a_threshold_beyond_the_range_of_the_type_limits_nothing(dtype, threshold, lower):
    gradients = {"weight": torch.tensor([-0.5, 3e4, torch.inf], dtype=dtype)}
    clipped, _, _ = Value(threshold, lower)(gradients, gradients, {})
    assert torch.equal(clipped["weight"], gradients["weight"])
    before = gradients["weight"].clone()
    Value(threshold, lower).clip_in_place(gradients, gradients, {})
    assert torch.equal(gradients["weight"], before)


def test_infinity_becomes_the_threshold_and_nan_stays():
    clipped, _ = clip(2.0, [torch.inf, -torch.inf, torch.nan, 1.0])
    torch.testing.assert_close(clipped, torch.tensor([2.0, -2.0, torch.nan, 1.0]), equal_nan=True, rtol=0.0, atol=0.0)
