"""Tensors that are spread over processes, as FSDP2 and tensor parallelism have them (``DTensor``).

Each process computes with its own shard, and what the shards have in common is joined over the mesh. The type is
recognized by its attributes, since importing it takes most of a second.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor, distributed

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.tensor import DTensor


def is_distributed(tensor: Tensor) -> "TypeGuard[DTensor]":
    """Return whether a tensor is a ``DTensor``."""
    return type(tensor) is not Tensor and hasattr(tensor, "device_mesh")


def is_unreduced(tensor: Tensor) -> bool:
    """Return whether each process has a summand of the tensor's elements instead of elements."""
    return is_distributed(tensor) and any(placement.is_partial() for placement in tensor.placements)


def stored(tensor: Tensor) -> Tensor:
    """Return what this process stores of a tensor, sharing its memory: its shard, its summand, or all of it."""
    return tensor.to_local() if is_distributed(tensor) else tensor


def shard(tensor: Tensor) -> Tensor:
    """Return the elements that this process has of a tensor; those of an unreduced one are summed first."""
    if not is_distributed(tensor):
        return tensor
    if is_unreduced(tensor):
        from torch.distributed.tensor import Replicate

        reduced = [Replicate() if placement.is_partial() else placement for placement in tensor.placements]
        tensor = tensor.redistribute(placements=reduced)
    return tensor.to_local()


def map_stored(function: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
    """Return a tensor of the same kind whose stored part is what the function, element by element, makes of it."""
    if not is_distributed(tensor):
        return function(tensor)
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        function(tensor.to_local()),
        tensor.device_mesh,
        tensor.placements,
        run_check=False,
        shape=tensor.shape,
        stride=tensor.stride(),
    )


def join_shards(
    values: Sequence[Tensor],
    tensors: Sequence[Tensor],
    join: Callable[[Tensor], Tensor],
    whole_dimension: int | None = None,
) -> list[Tensor]:
    """Join values that each process has computed from its shards, so that all have those of the whole tensors.

    Args:
        values: a value for each tensor, of any shape.
        tensors: the tensors; those that are not sharded keep their values.
        join: makes one value of those of all shards, which are stacked in the first dimension.
        whole_dimension: a dimension along which values are not joined, since each of them belongs to one shard.
    """
    joined = list(values)
    for group, indices in _indices_by_group(tensors, whole_dimension).items():
        own = torch.cat([joined[index].reshape(-1) for index in indices])
        of_all = [torch.empty_like(own) for _ in range(group.size())]
        distributed.all_gather(of_all, own, group)
        parts = torch.split(join(torch.stack(of_all)), [joined[index].numel() for index in indices])
        for index, part in zip(indices, parts, strict=True):
            joined[index] = part.reshape(joined[index].shape)
    return joined


def _indices_by_group(tensors: Sequence[Tensor], whole_dimension: int | None) -> "dict[ProcessGroup, list[int]]":
    """Which tensors are sharded over which group of processes, in the same order in each process."""
    found: dict[ProcessGroup, list[int]] = {}
    for index, tensor in enumerate(tensors):
        if is_distributed(tensor):
            for mesh_dimension, placement in enumerate(tensor.placements):
                is_shard = not (placement.is_replicate() or placement.is_partial())
                if is_shard and getattr(placement, "dim", None) != whole_dimension:
                    found.setdefault(tensor.device_mesh.get_group(mesh_dimension), []).append(index)
    return found
