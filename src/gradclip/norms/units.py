"""Norms of units: rows of a matrix, filters of a convolution, whole vectors."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors

from gradclip.norms import gpu
from gradclip.norms.cpu import BLOCK, unchecked_norms
from gradclip.norms.tensors import are_narrow_on_cpu, doubtful_norms, joined_norms, safe_scale, wide_type
from gradclip.sharding import is_distributed, join_shards, shard


def unit_norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the L2 norms of each tensor's units, every dimension but the first of size 1.

    A unit is a slice of the first dimension; a vector is one unit, whose norm is a scalar. Of a sharded tensor the
    units are returned of which this process has a part.

    Example:
        >>> unit_norms([torch.tensor([[3.0, 4.0], [6.0, 8.0]])])
        [tensor([[ 5.],
                [10.]], dtype=torch.float64)]
    """
    if not any(is_distributed(tensor) for tensor in tensors):
        return _local_unit_norms(tensors)
    norms = [norm.double() for norm in _local_unit_norms([shard(tensor) for tensor in tensors])]
    vectors = [tensor if tensor.ndim < 2 else norm for tensor, norm in zip(tensors, norms, strict=True)]
    norms = join_shards(norms, vectors, joined_norms)
    others = [norm if tensor.ndim < 2 else tensor for tensor, norm in zip(tensors, norms, strict=True)]
    return join_shards(norms, others, joined_norms, whole_dimension=0)


def unit_norms_together(matrices: Sequence[Tensor], vectors: Sequence[Tensor], least: float = 0.0) -> list[Tensor]:
    """Return the norms of each matrix's units, as :func:`unit_norms` does, and those of all vectors in one tensor.

    On a CPU they are measured in float32 first, and again with care if one over- or underflowed.

    Args:
        matrices: tensors of two or more dimensions.
        vectors: the others; without any, the list ends before.
        least: norms below this need not be exact, only below it.
    """
    if are_narrow_on_cpu([*matrices, *vectors]):
        norms = [_unscaled_unit_norms(matrix, _enough(matrix)) for matrix in matrices]
        norms += [unchecked_norms(vectors, 2).float()] if vectors else []
        if not doubtful_norms(_flatten_dense_tensors(norms), least):  # type: ignore[no-untyped-call]
            return norms
    each = unit_norms([*matrices, *vectors])
    return [*each[: len(matrices)], torch.stack(each[len(matrices) :])] if vectors else each


def _enough(matrix: Tensor) -> torch.dtype:
    """The type in which the squares of a unit can be added up."""
    return torch.float32 if matrix.numel() <= BLOCK * matrix.shape[0] else torch.float64


def _local_unit_norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    tensors = [tensor.abs() if tensor.is_complex() else tensor for tensor in tensors]
    if gpu.can_measure_units(tensors):
        return gpu.unit_norms(tensors)
    return [_wide_unit_norms(tensor) for tensor in tensors]


def _unscaled_unit_norms(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    wider = None if tensor.dtype == dtype else dtype  # a type that is asked for costs time even where it is there
    norms: Tensor = torch.linalg.vector_norm(tensor, 2, _inner(tensor), keepdim=tensor.ndim > 1, dtype=wider)
    return norms


def _wide_unit_norms(tensor: Tensor) -> Tensor:
    if tensor.dtype != torch.float64 or tensor.numel() == 0:
        return _unscaled_unit_norms(tensor, wide_type(tensor))
    scale = safe_scale(tensor.abs().amax(_inner(tensor), keepdim=tensor.ndim > 1))
    return _unscaled_unit_norms(tensor / scale, torch.float64) * scale


def _inner(tensor: Tensor) -> tuple[int, ...]:
    """The dimensions within a unit."""
    return tuple(range(1, tensor.ndim)) or tuple(range(tensor.ndim))
