"""Tensors that are sharded over processes (``DTensor``), as in FSDP2 and tensor parallelism.

Each process computes on its own shard, and the results of all shards are joined over the mesh. The type is recognized
by its attributes, because importing it takes almost a second.
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
    """Return whether each process holds summands of the tensor's elements, not elements (a partial placement)."""
    return is_distributed(tensor) and any(placement.is_partial() for placement in tensor.placements)


def to_local(tensor: Tensor) -> Tensor:
    """Return this process's part of a tensor, in the same memory: a shard, a summand, or an ordinary tensor itself."""
    return tensor.to_local() if is_distributed(tensor) else tensor


def shard(tensor: Tensor) -> Tensor:
    """Return this process's shard of a tensor; an unreduced tensor is summed first."""
    if not is_distributed(tensor):
        return tensor
    if is_unreduced(tensor):
        from torch.distributed.tensor import Replicate

        reduced = [Replicate() if placement.is_partial() else placement for placement in tensor.placements]
        tensor = tensor.redistribute(placements=reduced)
    return tensor.to_local()


def map_local(function: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
    """Apply an element-wise function to this process's part of a tensor; the result is sharded alike."""
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
    """Join values that each process computed from its shards into values of the whole tensors.

    Args:
        values: a value for each tensor, of any shape.
        tensors: the tensors; values of tensors that are not sharded stay unchanged.
        join: reduces the values of all shards, stacked along the first dimension, to one value.
        whole_dimension: a tensor dimension; shards along it are not joined, because each value belongs to one shard.
    """
    joined = list(values)
    for group, indices in _indices_by_group(tensors, whole_dimension).items():
        local = torch.cat([joined[index].reshape(-1) for index in indices])
        gathered = [torch.empty_like(local) for _ in range(group.size())]
        distributed.all_gather(gathered, local, group)
        parts = torch.split(join(torch.stack(gathered)), [joined[index].numel() for index in indices])
        for index, part in zip(indices, parts, strict=True):
            joined[index] = part.reshape(joined[index].shape)
    return joined


def _indices_by_group(tensors: Sequence[Tensor], whole_dimension: int | None) -> "dict[ProcessGroup, list[int]]":
    """Return the indices of the tensors sharded over each group of processes, in the same order in each process."""
    found: dict[ProcessGroup, list[int]] = {}
    for index, tensor in enumerate(tensors):
        if is_distributed(tensor):
            for mesh_dimension, placement in enumerate(tensor.placements):
                is_shard = not (placement.is_replicate() or placement.is_partial())
                if is_shard and getattr(placement, "dim", None) != whole_dimension:
                    found.setdefault(tensor.device_mesh.get_group(mesh_dimension), []).append(index)
    return found
