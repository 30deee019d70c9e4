"""Norms, non-finite counts and inner products of lists of tensors, cheap enough for every optimizer step."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gradclip.norms import gpu
from gradclip.norms.tensors import norms_and_largest, wide_type
from gradclip.sharding import join_shards, shard


def measure_gradients(gradients: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the L2 norm of each tensor, the largest magnitude of all elements, and the non-finite count of each.

    Example:
        >>> measure_gradients([torch.tensor([3.0, -4.0]), torch.tensor([1.0])])
        (tensor([5., 1.], dtype=torch.float64), tensor(4., dtype=torch.float64), tensor([0., 0.], dtype=torch.float64))
    """
    if gpu.can_measure(gradients):
        norms, largest, counts = gpu.measure(gradients)
        return norms, largest.amax(), counts
    norms, all_largest = norms_and_largest(gradients)
    return norms, all_largest, nonfinite_counts(gradients, norms)


def nonfinite_counts(tensors: Sequence[Tensor], norms: Tensor) -> Tensor:
    """Return the number of NaN or infinite elements of each tensor, ``[tensors]``.

    Args:
        tensors: the tensors.
        norms: their norms; a finite norm means finite elements. On a CPU, where reading a value does not synchronize,
            only tensors with a non-finite norm are counted.

    Example:
        >>> from gradclip.norms.tensors import tensor_norms
        >>> tensors = [torch.tensor([1.0, torch.nan, -torch.inf]), torch.tensor([3.0])]
        >>> nonfinite_counts(tensors, tensor_norms(tensors))
        tensor([2., 0.], dtype=torch.float64)
    """
    if norms.is_cpu:
        counts = torch.zeros_like(norms)
        if norms.numel() and norms.max().isfinite():  # the largest of norms with a NaN is NaN
            return counts
        doubtful = torch.nonzero(~norms.isfinite()).flatten().tolist()
        for index, count in zip(doubtful, _count_nonfinite([tensors[index] for index in doubtful]), strict=True):
            counts[index] = count
        return counts
    return torch.stack(_count_nonfinite(tensors))


def _count_nonfinite(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the counts by few operations per tensor: zero times an element is zero if it is finite, else NaN."""
    shards = [shard(tensor) for tensor in tensors]
    if gpu.can_measure(shards):
        counts = [*gpu.measure(shards).nonfinite.unbind()]
    else:
        counts = [torch.count_nonzero(local * 0).to(wide_type(local)) for local in shards]
    return join_shards(counts, tensors, lambda of_shards: of_shards.sum(0))


def inner_product(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Return the inner product of two lists of tensors, each list taken as one vector; a scalar.

    It is computed in float64, where products of float32 numbers cannot overflow (in float32 on Apple's GPUs).

    Example:
        >>> inner_product([torch.tensor([1.0, 2.0])], [torch.tensor([3.0, 4.0])])
        tensor(11., dtype=torch.float64)
    """
    if gpu.can_measure(tensors, others):
        return gpu.inner_products(tensors, others).sum()
    local, local_others = [shard(tensor) for tensor in tensors], [shard(other) for other in others]
    if gpu.can_measure(local, local_others):
        products = [*gpu.inner_products(local, local_others).unbind()]
    else:
        wide = wide_type(tensors[0])
        pairs = zip(local, local_others, strict=True)
        products = [torch.dot(one.flatten().to(wide), other.flatten().to(wide)) for one, other in pairs]
    return torch.stack(join_shards(products, tensors, lambda of_shards: of_shards.sum(0))).sum()
