"""The extremes of a batch are exact, and say if an element is not finite."""

import numpy as np
import pytest
import torch

from gradclip.telemetry.batches import batch_extremes, largest_of_batches, merge_extremes

PAIR = (torch.tensor([1.0, -3.0]), torch.tensor([2.0]))
CLASSES = (torch.tensor([1.0, -3.0]), torch.tensor([2]))
BAD = (torch.tensor([1.0, torch.nan]), torch.tensor([2]))


def largest(*batches):
    """Return the largest magnitudes in the record of a step with these batches."""
    found = [float(extreme) for extreme in merge_extremes([batch_extremes(batch) for batch in batches])]
    row = np.array([found + [0.0] * (4 - len(found))])
    return largest_of_batches(row, np.array([len(found) == 4]))[:, 0].tolist()


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([PAIR], [3.0, 2.0]),
        ([PAIR, (PAIR[0] * 2, PAIR[1])], [6.0, 2.0]),
        ([(torch.tensor([torch.nan]), PAIR[1])], [np.inf, 2.0]),
        ([(PAIR[0], torch.tensor([-torch.inf, torch.inf]))], [3.0, np.inf]),
        ([CLASSES], [np.nan, np.nan]),
        ([BAD], [np.inf, np.nan]),
        ([CLASSES, BAD], [np.inf, np.nan]),
        ([PAIR, BAD], [np.inf, np.nan]),
        ([PAIR, CLASSES, torch.tensor([1])], [np.nan, np.nan]),
        ([{"image": [BAD[0]], "name": "a"}], [np.inf, np.nan]),
        ([torch.tensor([1])], [np.nan, np.nan]),
        ([None], [np.nan, np.nan]),
        ([torch.full((9,), 3e4, dtype=torch.float16)], [np.nan, np.nan]),  # the sum would overflow in 16 bits
        ([torch.zeros(2).to(torch.float8_e4m3fn)], [np.nan, np.nan]),
        ([torch.eye(2).to_sparse()], [np.nan, np.nan]),
    ],
)
def test_largest_magnitudes_are_infinite_for_a_non_finite_element_and_nan_if_unknown(batches, expected):
    np.testing.assert_equal(largest(*batches), expected)


def test_batch_extremes_have_no_graph():
    inputs = torch.ones(2, requires_grad=True)
    assert not any(extreme.requires_grad for extreme in batch_extremes((inputs, inputs * 2)) + batch_extremes([inputs]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_extremes_are_the_minimum_and_maximum_of_each_tensor(dtype):
    pair = [torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype) for shape in ((2, 3, 4), (7,))]
    ends = [end.item() for end in batch_extremes(pair)]
    assert ends == [end for tensor in pair for end in (tensor.min().item(), tensor.max().item())]


def test_extremes_of_a_tensor_with_nan_are_nan_and_infinities_are_kept():
    ends = batch_extremes((torch.tensor([1.0, torch.nan, torch.inf]), torch.tensor([-torch.inf, 2.0])))
    assert [end.item() for end in ends] == pytest.approx([np.nan, np.nan, -np.inf, 2.0], nan_ok=True)
