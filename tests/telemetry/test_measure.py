import numpy as np
import pytest
import torch

from gradclip.norms import tensor_norms
from gradclip.telemetry.measure import extremes, norms

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
    torch.testing.assert_close(torch.stack(norms(tensors)).float(), tensor_norms(tensors))


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
