"""Norms of units: rows of a matrix, filters of a convolution, whole vectors."""

from collections.abc import Sequence
from itertools import compress

import numpy as np
import torch
from torch import Tensor
from torch._C._functorch import is_batchedtensor
from torch._utils import _flatten_dense_tensors

from gradclip import gpu_norms
from gradclip.cpu_norms import BLOCK
from gradclip.norms import VANISHING, doubtful_norms, joined_norms, safe_scale, wide_type
from gradclip.sharding import is_distributed, join_shards, shard


def unit_norms(tensors: Sequence[Tensor], least: float = 0.0) -> list[Tensor]:
    """Return the L2 norms of each tensor's units, every dimension but the first of size 1.

    A unit is a slice of the first dimension; a vector is one unit, whose norm is a scalar. Of a sharded tensor the
    units are returned of which this process has a part.

    Args:
        tensors: the tensors.
        least: norms below this need not be exact, only below it.

    Example:
        >>> unit_norms([torch.tensor([[3.0, 4.0], [6.0, 8.0]])])
        [tensor([[ 5.],
                [10.]])]
    """
    if not any(is_distributed(tensor) for tensor in tensors):
        return _local_unit_norms(tensors, least)
    norms = [norm.double() for norm in _local_unit_norms([shard(tensor) for tensor in tensors], least)]
    vectors = [tensor if tensor.ndim < 2 else norm for tensor, norm in zip(tensors, norms, strict=True)]
    norms = join_shards(norms, vectors, joined_norms)
    others = [norm if tensor.ndim < 2 else tensor for tensor, norm in zip(tensors, norms, strict=True)]
    return join_shards(norms, others, joined_norms, whole_dimension=0)


def _local_unit_norms(tensors: Sequence[Tensor], least: float) -> list[Tensor]:
    """The norms of units; on a CPU in float32 where that is enough."""
    tensors = [tensor.abs() if tensor.is_complex() else tensor for tensor in tensors]
    if gpu_norms.can_measure_units(tensors):
        return gpu_norms.unit_norms(tensors)
    if not tensors or not tensors[0].is_cpu or any(is_batchedtensor(tensor) for tensor in tensors):
        return [_wide_unit_norms(tensor) for tensor in tensors]
    are_vectors = [_is_narrow_vector(tensor) for tensor in tensors]
    vectors = [*compress(tensors, are_vectors)]
    of_vectors = iter(torch._foreach_norm(vectors, 2, dtype=torch.float32) if vectors else ())
    pairs = zip(tensors, are_vectors, strict=True)
    norms = [next(of_vectors) if is_vector else _matrix_unit_norms(tensor) for tensor, is_vector in pairs]
    all_norms = _flatten_dense_tensors(norms)  # type: ignore[no-untyped-call]
    doubtful = doubtful_norms(all_norms, -1.0 if least > VANISHING else VANISHING)
    if doubtful:
        ends = np.cumsum([norm.numel() for norm in norms])
        for index in np.unique(np.searchsorted(ends, doubtful, side="right")):
            norms[index] = _wide_unit_norms(tensors[index])
    return norms


def _is_narrow_vector(tensor: Tensor) -> bool:
    return tensor.ndim < 2 and tensor.dtype != torch.float64 and tensor.numel() <= BLOCK


def _matrix_unit_norms(tensor: Tensor) -> Tensor:
    is_narrow = tensor.ndim > 1 and tensor.dtype != torch.float64 and tensor.numel() <= BLOCK * len(tensor)
    return _unscaled_unit_norms(tensor, torch.float32) if is_narrow else _wide_unit_norms(tensor)


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
