"""Norms on a CPU are right for tensors of any types, measured together or in blocks."""

import numpy as np
import pytest
import torch

from gradclip.norms.cpu import BLOCK, MAX_GROUP, MIN_GROUP
from gradclip.norms.tensors import change_norms, norms_and_largest, tensor_norms

SIZES = [*[5] * (MAX_GROUP + 3), 0, *[7] * (MIN_GROUP - 1), 2 * BLOCK + 1, 5, 9]


def tensors_of(*sizes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, generator=generator) for size in sizes]


def reference(tensors):
    return torch.stack([tensor.double().norm() for tensor in tensors])


def test_norms_are_right_for_tensors_measured_together_or_in_blocks():
    tensors = tensors_of(*SIZES)
    norms, largest = norms_and_largest(tensors)
    torch.testing.assert_close(norms, reference(tensors), rtol=1e-6, atol=0)
    torch.testing.assert_close(tensor_norms(tensors), reference(tensors), rtol=1e-6, atol=0)
    assert largest == max(tensor.abs().max() for tensor in tensors if len(tensor))


@pytest.mark.parametrize("index", [3, SIZES.index(2 * BLOCK + 1)])
@pytest.mark.parametrize("value", [torch.nan, -torch.inf, 3e30, -1e-30])
def test_a_special_element_affects_only_the_norm_of_its_own_tensor(index, value):
    tensors = tensors_of(*SIZES)
    tensors[index].zero_()[-1] = value
    norms, largest = norms_and_largest(tensors)
    expected = reference(tensors)
    torch.testing.assert_close(norms, expected, rtol=1e-6, atol=0, equal_nan=True)
    np.testing.assert_equal(largest.item(), torch.cat(tensors).abs().max().item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_change_norms_equal_the_norms_of_the_differences(dtype):
    before = [tensor.to(dtype) for tensor in tensors_of(*SIZES)]
    after = [1.5 * tensor for tensor in before]
    expected = reference([new - old for new, old in zip(after, before, strict=True)])
    torch.testing.assert_close(change_norms(after, before), expected, rtol=3e-5, atol=0)


def test_tensors_of_mixed_types_and_an_empty_list_are_measured():
    tensors = [tensor.to(torch.float16) if index % 2 else tensor for index, tensor in enumerate(tensors_of(*[6] * 20))]
    torch.testing.assert_close(norms_and_largest(tensors)[0], reference(tensors), rtol=1e-6, atol=0)
    assert norms_and_largest([])[1] == 0
