import numpy as np
import pytest
import torch

from gradclip.norms import LARGE, tensor_norms
from gradclip.telemetry.measure import change_norms, extremes, inner_product, nonfinite_counts, norms

SHAPES = [(), (7,), (3, 4), (2, 3, 4), (2, 1, 3, 2)]
TYPES = [torch.float32, torch.float64, torch.bfloat16]


def draw(dtype=torch.float32, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    return [(scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype) for shape in SHAPES]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_norms_equal_float64_reference(dtype, scale):
    tensors = draw(dtype, scale)
    for tensor, norm in zip(tensors, norms(tensors), strict=True):
        assert norm.shape == ()
        assert norm.item() == pytest.approx(np.linalg.norm(tensor.double().numpy().ravel()), rel=1e-12)


def test_norms_equal_those_that_vmap_can_stack():
    tensors = draw()
    torch.testing.assert_close(torch.stack(norms(tensors)), tensor_norms(tensors))


@pytest.mark.parametrize(
    ("values", "norm"),
    [([np.nan, 1.0], np.nan), ([np.inf, 1.0], np.inf), ([0.0, 0.0], 0.0), ([3e38, 3e38], 3e38 * 2**0.5)],
)
def test_norms_of_special_values(values, norm):
    (result,) = norms([torch.tensor(values)])
    assert result.item() == pytest.approx(norm, nan_ok=True)


@pytest.mark.parametrize("dtype", TYPES)
def test_extremes_are_the_least_and_greatest_element_of_each(dtype):
    tensors = draw(dtype)
    ends = [end.item() for end in extremes(tensors)]
    assert ends == [end for tensor in tensors for end in (tensor.min().item(), tensor.max().item())]


def test_nan_wins_and_infinities_show():
    ends = extremes([torch.tensor([1.0, torch.nan, torch.inf]), torch.tensor([-torch.inf, 2.0])])
    assert [end.item() for end in ends] == pytest.approx([np.nan, np.nan, -np.inf, 2.0], nan_ok=True)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_norms_of_large_tensors_neither_overflow_nor_vanish(scale):
    tensors = [scale * torch.randn(LARGE, generator=torch.Generator().manual_seed(0)), torch.full((3,), scale)]
    for tensor, norm in zip(tensors, norms(tensors), strict=True):
        assert norm.item() == pytest.approx(np.linalg.norm(tensor.double().numpy()), rel=1e-6)


@pytest.mark.parametrize(("bad", "norm"), [(torch.nan, np.nan), (torch.inf, np.inf)])
def test_norms_of_large_tensors_with_a_bad_element(bad, norm):
    tensor = torch.ones(LARGE)
    tensor[7] = bad
    assert norms([tensor])[0].item() == pytest.approx(norm, nan_ok=True)


@pytest.mark.parametrize("dtype", TYPES)
def test_bad_elements_are_counted_in_each_tensor(dtype):
    tensors = draw(dtype)
    tensors[2][0, 1], tensors[2][2, 3], tensors[1][0] = torch.nan, torch.inf, -torch.inf
    assert [int(count) for count in nonfinite_counts(tensors)] == [0, 1, 2, 0, 0]


def test_change_and_inner_product_equal_those_of_the_joined_vectors():
    first, second = draw(torch.float64), draw(torch.float64, scale=2.0)
    ours = [change.item() for change in change_norms(second, first)]
    assert ours == pytest.approx([np.linalg.norm(tensor.numpy()) for tensor in first])
    joined = np.concatenate([tensor.numpy().ravel() for tensor in first])
    assert inner_product(first, second).item() == pytest.approx(2 * joined @ joined)
