"""Norms of units: rows of a matrix, filters of a convolution, whole vectors."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors

from gradclip.cpu_norms import BLOCK, unchecked_norms
from gradclip.norms import are_narrow_on_cpu, doubtful_norms, joined_norms, safe_scale, tensor_norms, wide_type
from gradclip.sharding import join_shards, shard


def unit_norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the L2 norms of each tensor's units, every dimension but the first of size 1.

    A unit is a slice of the first dimension; a vector is one unit, whose norm is a scalar. Of a sharded tensor the
    units are returned of which this process has a part.

    Example:
        >>> unit_norms([torch.tensor([[3.0, 4.0], [6.0, 8.0]])])
        [tensor([[ 5.],
                [10.]], dtype=torch.float64)]
    """
    matrices, vectors = (
        [tensor for tensor in tensors if (tensor.ndim > 1) == is_matrix] for is_matrix in (True, False)
    )
    local = [_norms_of_rows(shard(matrix)) for matrix in matrices]
    of_matrices = iter(join_shards(local, matrices, joined_norms, whole_dimension=0))
    of_vectors = iter(tensor_norms(vectors).unbind() if vectors else ())
    return [next(of_matrices if tensor.ndim > 1 else of_vectors) for tensor in tensors]


def together(matrices: Sequence[Tensor], vectors: Sequence[Tensor], least: float = 0.0) -> list[Tensor]:
    """Return the norms of each matrix's units, as :func:`unit_norms` does, and those of all vectors in one tensor.

    On a CPU they are measured in float32 first, and again with care if one over- or underflowed.

    Args:
        matrices: tensors of two or more dimensions.
        vectors: the others; without any, the list ends before.
        least: norms below this need not be exact, only below it.
    """
    if are_narrow_on_cpu([*matrices, *vectors]):
        norms = [_unscaled_norms_of_rows(matrix, _enough(matrix)) for matrix in matrices]
        norms += [unchecked_norms(vectors, 2).float()] if vectors else []
        if not doubtful_norms(_flatten_dense_tensors(norms), least):  # type: ignore[no-untyped-call]
            return norms
    return unit_norms(matrices) + ([tensor_norms(vectors)] if vectors else [])


def _norms_of_rows(matrix: Tensor) -> Tensor:
    if matrix.is_complex():
        matrix = matrix.abs()
    if matrix.dtype != torch.float64 or matrix.numel() == 0:
        return _unscaled_norms_of_rows(matrix, wide_type(matrix))
    scale = safe_scale(matrix.abs().amax(_inner(matrix), keepdim=True))
    return _unscaled_norms_of_rows(matrix / scale, torch.float64) * scale


def _unscaled_norms_of_rows(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    wider = None if matrix.dtype == dtype else dtype  # a type that is asked for costs time even where it is there
    norms: Tensor = torch.linalg.vector_norm(matrix, 2, _inner(matrix), keepdim=True, dtype=wider)
    return norms


def _enough(matrix: Tensor) -> torch.dtype:
    """The type in which the squares of each row can be added up."""
    return torch.float32 if matrix.numel() <= BLOCK * matrix.shape[0] else torch.float64


def _inner(matrix: Tensor) -> tuple[int, ...]:
    """The dimensions within a unit."""
    return (1,) if matrix.ndim == 2 else tuple(range(1, matrix.ndim))
