"""Counts of non-finite elements and inner products of gradients are right, also for huge elements."""

import numpy as np
import pytest
import torch

from gradclip.norms.tensors import tensor_norms
from gradclip.telemetry.measures import inner_product, nonfinite_counts

SHAPES = [(), (7,), (3, 4), (2, 3, 4), (2, 1, 3, 2)]
TYPES = [torch.float32, torch.float64, torch.bfloat16]


def draw(dtype=torch.float32, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    return [(scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype) for shape in SHAPES]


@pytest.mark.parametrize("dtype", TYPES)
def test_non_finite_elements_are_counted_for_each_tensor(dtype):
    tensors = draw(dtype)
    tensors[2][0, 1], tensors[2][2, 3], tensors[1][0] = torch.nan, torch.inf, -torch.inf
    assert nonfinite_counts(tensors, tensor_norms(tensors)).tolist() == [0, 1, 2, 0, 0]


def test_inner_product_equals_the_product_of_the_joined_vectors():
    first, second = draw(torch.float64), draw(torch.float64, scale=2.0)
    joined = np.concatenate([tensor.numpy().ravel() for tensor in first])
    assert inner_product(first, second).item() == pytest.approx(2 * joined @ joined)


def test_inner_product_of_large_elements_does_not_overflow():
    large = [torch.tensor([3e30, -4e30]), torch.tensor([[1e30]])]
    assert inner_product(large, large).item() == pytest.approx(26e60)
