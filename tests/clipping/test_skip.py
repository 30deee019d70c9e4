"""`skip` leaves out non-finite and too large updates, at most `patience` in a row."""

import pytest
import torch

from gradclip import Skip
from gradclip.clipping.rescaling import clear_where


def follow(clipper, norms):
    """Return which updates pass, and the final state."""
    state, passed = clipper.init({}), []
    for norm in norms:
        gradients = {"only": torch.tensor([norm, 0.0])}
        clipped, state, report = clipper(gradients, gradients, state)
        passed.append(not report.skipped)
        expected = gradients["only"] if passed[-1] else torch.zeros(2)
        torch.testing.assert_close(clipped["only"], expected, rtol=0, atol=0, equal_nan=True)
    return passed, {key: int(value) for key, value in state.items()}


def test_non_finite_updates_are_skipped_and_counted():
    passed, state = follow(Skip(), [1.0, torch.nan, 1e30, torch.inf, torch.inf, 2.0])
    assert passed == [True, False, True, False, False, True]
    assert state == {"skipped": 3, "in_a_row": 0}


def test_only_norms_above_the_limit_are_skipped():
    assert follow(Skip(5.0), [4.0, 5.0, 5.1, -6.0])[0] == [True, True, False, False]


@pytest.mark.parametrize("patience", [1, 3])
def test_patience_limits_the_skips_in_a_row_until_the_next_harmless_update(patience):
    passed, state = follow(Skip(patience=patience), [torch.nan] * 5 + [1.0] + [torch.nan])
    assert passed == [False] * patience + [True] * (5 - patience) + [True, False]
    assert state == {"skipped": patience + 1, "in_a_row": 1}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
def test_clear_where_zeroes_all_values_or_changes_no_bit(dtype):
    values = torch.tensor([[torch.nan, torch.inf, -1.5], [-0.0, 1e-7, 3.0]]).to(dtype)
    gradients = {"rows": values.clone(), "columns": values.mT.clone().mT, "scalar": values[0, 0].clone()}
    clear_where(torch.tensor(False), gradients)
    assert torch.equal(gradients["rows"].view(torch.uint8), values.view(torch.uint8))
    clear_where(torch.tensor(True), gradients)
    assert all((gradient == 0).all() for gradient in gradients.values())
