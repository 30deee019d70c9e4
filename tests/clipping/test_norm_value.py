"""`norm_value` clips the norm first and then the elements."""

import pytest
import torch

from gradclip import NormValue


@pytest.mark.parametrize(
    ("norm", "value", "expected"),
    [
        (1.0, 0.7, [0.6, 0.7]),  # both limits apply; [0.6, 0.8] after the first
        (1.0, 5.0, [0.6, 0.8]),  # only the limit of the norm applies
        (9.0, 3.5, [3.0, 3.5]),  # only the limit of the elements applies
        (9.0, 9.0, [3.0, 4.0]),  # no limit applies
    ],
)
def test_the_norm_is_clipped_first_and_then_the_elements(norm, value, expected):
    gradients = {"weight": torch.tensor([3.0, 4.0])}
    clipped, state, report = NormValue(norm=norm, value=value)(gradients, gradients, {})
    torch.testing.assert_close(clipped["weight"], torch.tensor(expected))
    assert state == {}
    assert report.norm == 5.0
    assert report.norm_clipped.item() == pytest.approx(torch.tensor(expected).norm().item())
    assert bool(report.clipped) == (expected != [3.0, 4.0])


def test_equals_both_functions_of_torch_in_sequence():
    parameter = torch.nn.Parameter(torch.zeros(20, 25))
    parameter.grad = torch.randn(20, 25, generator=torch.Generator().manual_seed(0))
    gradients = {"weight": parameter.grad.clone()}
    torch.nn.utils.clip_grad_norm_([parameter], 5.0)
    torch.nn.utils.clip_grad_value_([parameter], 0.3)
    torch.testing.assert_close(NormValue(5.0, 0.3)(gradients, gradients, {})[0]["weight"], parameter.grad)
