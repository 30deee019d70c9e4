"""Norms of units: rows of a matrix, filters of a convolution, whole vectors."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors

from gradclip.norms import gpu
from gradclip.norms.cpu import BLOCK, unchecked_norms
from gradclip.norms.gpu_plans import units_of
from gradclip.norms.tensors import are_narrow_on_cpu, doubtful_norms, joined_norms, safe_scale, wide_type
from gradclip.sharding import is_distributed, join_shards, shard


def unit_norms(tensors: Sequence[Tensor], least: float = 0.0) -> Tensor:
    """Return the L2 norm of each unit of all tensors, one tensor after the other, ``[units]``.

    A unit is a slice of the first dimension; a vector is one unit. For a sharded tensor, the norms are those of the
    units of which this process has a part. On a CPU, norms are first measured in float32, and again in a wider type if
    any over- or underflowed.

    Args:
        tensors: the tensors.
        least: norms below this value need not be exact, as long as they stay below it.

    Example:
        >>> unit_norms([torch.tensor([[3.0, 4.0], [6.0, 8.0]]), torch.tensor([2.0])])
        tensor([ 5., 10.,  2.])
    """
    if not tensors:
        return torch.zeros(0)
    if are_narrow_on_cpu(tensors):
        norms = _quick_unit_norms(tensors)
        if not doubtful_norms(norms, least):
            return norms
    if any(is_distributed(tensor) for tensor in tensors):
        return _joined_unit_norms(tensors)
    tensors = [tensor.abs() if tensor.is_complex() else tensor for tensor in tensors]
    if gpu.can_measure_units(tensors):
        return gpu.unit_norms(tensors)
    return torch.cat([_wide_unit_norms(tensor) for tensor in tensors])


def split_units(numbers: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Split numbers of all units, ``[units]``, by tensor, each part in a shape that broadcasts against its tensor.

    Example:
        >>> split_units(torch.tensor([5.0, 10.0, 2.0]), [torch.ones(2, 3), torch.ones(4)])
        [tensor([[ 5.],
                [10.]]), tensor([2.])]
    """
    parts = torch.split(numbers, [units_of(tensor.shape) for tensor in tensors])
    return [
        part if tensor.ndim == 1 else part.view([-1, *[1] * tensor.ndim][: tensor.ndim])
        for part, tensor in zip(parts, tensors, strict=True)
    ]


def _joined_unit_norms(tensors: Sequence[Tensor]) -> Tensor:
    """Return the norms of the whole units of which this process has a part."""
    shards = [shard(tensor) for tensor in tensors]
    norms = split_units(unit_norms(shards).double(), shards)
    vectors = [tensor if tensor.ndim < 2 else norm for tensor, norm in zip(tensors, norms, strict=True)]
    norms = join_shards(norms, vectors, joined_norms)
    others = [norm if tensor.ndim < 2 else tensor for tensor, norm in zip(tensors, norms, strict=True)]
    return torch.cat([norm.flatten() for norm in join_shards(norms, others, joined_norms, whole_dimension=0)])


def _quick_unit_norms(tensors: Sequence[Tensor]) -> Tensor:
    """Return the norms of units by few calls, in float32, where they can over- and underflow."""
    if all(tensor.ndim < 2 for tensor in tensors):
        return unchecked_norms(tensors, 2).float()
    norms = [_unit_norms(tensor, _enough(tensor)) for tensor in tensors]
    flat: Tensor = _flatten_dense_tensors(norms)  # type: ignore[no-untyped-call]
    return flat


def _enough(tensor: Tensor) -> torch.dtype:
    """Return the type in which the squares of a unit can be summed."""
    return torch.float32 if tensor.numel() <= BLOCK * units_of(tensor.shape) else torch.float64


def _unit_norms(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the norms of one tensor's units, whose squares are summed in this type without scaling."""
    wider = None if tensor.dtype == dtype else dtype  # passing a type costs time even if the tensor has it
    norms: Tensor = torch.linalg.vector_norm(tensor, 2, _inner(tensor), dtype=wider)
    return norms


def _wide_unit_norms(tensor: Tensor) -> Tensor:
    """Return the norms of one tensor's units, which neither overflow nor underflow."""
    if tensor.dtype != torch.float64 or tensor.numel() == 0:
        return _unit_norms(tensor, wide_type(tensor)).reshape(-1)
    scale = safe_scale(tensor.abs().amax(_inner(tensor), keepdim=True))
    return _unit_norms(tensor / scale, torch.float64).reshape(-1) * scale.reshape(-1)


def _inner(tensor: Tensor) -> tuple[int, ...]:
    """Return the dimensions within a unit."""
    return tuple(range(1, tensor.ndim)) or tuple(range(tensor.ndim))
