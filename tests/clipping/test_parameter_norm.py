"""`parameter_norm` clips each tensor by its own norm."""

import pytest
import torch

from gradclip import Norm, ParameterNorm


def test_each_tensor_is_clipped_by_its_own_norm():
    gradients = {"weight": torch.tensor([[3.0, 4.0]]), "bias": torch.tensor([0.5]), "scalar": torch.tensor(-2.0)}
    clipped = ParameterNorm(1.0)(gradients, gradients, {})[0]
    torch.testing.assert_close(
        [*clipped.values()], [torch.tensor([[0.6, 0.8]]), torch.tensor([0.5]), torch.tensor(-1.0)]
    )


@pytest.mark.parametrize("threshold", [0.1, 1.0, 1e6])
def test_equals_torch_called_for_each_tensor(threshold):
    generator, ours, theirs = torch.Generator().manual_seed(0), {}, {}
    for name, shape in {"weight": (20, 25), "bias": (25,), "output": (1, 25)}.items():
        parameter = torch.nn.Parameter(torch.zeros(shape))
        parameter.grad = 3 * torch.randn(shape, generator=generator)
        ours[name] = parameter.grad.clone()
        torch.nn.utils.clip_grad_norm_([parameter], threshold)
        theirs[name] = parameter.grad
    torch.testing.assert_close(ParameterNorm(threshold)(ours, ours, {})[0], theirs)


def test_differs_from_clipping_by_the_global_norm():
    gradients = {"first": torch.tensor([3.0]), "second": torch.tensor([4.0])}
    assert ParameterNorm(1.0)(gradients, gradients, {})[0] == {"first": 1.0, "second": 1.0}
    assert Norm(1.0)(gradients, gradients, {})[0]["first"].item() == pytest.approx(0.6)
