"""How the kernels of :mod:`gradclip.norms.gpu` find the elements of many tensors in a device's memory.

The host has no time to lose at each step: what follows from sizes or addresses is kept, since they come back.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import gcd
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ALIGNMENT = 16  # bytes that a thread reads at once
Shapes = tuple[torch.Size, ...]


class Launch(NamedTuple):
    """How the kernels divide their work.

    Attributes:
        kept: dimensions whose slices are units: 1, or 0 where each tensor is one unit.
        block: elements that one program of the device reads, at most.
        chunk: of them at once.
        warps: of 32 threads, in a program.
        joined: blocks that are joined at once.
    """

    kept: int
    block: int
    chunk: int
    warps: int
    joined: int


WHOLE = Launch(0, 16_384, 2048, 8, 1024)
UNITS = Launch(1, 1024, 1024, 4, 16)  # of hundreds of elements, mostly


class Plan(NamedTuple):
    """How tensors are cut into blocks, which follows from their shapes; tensors on the device.

    Attributes:
        divisor: the largest number of which all starts are multiples.
        blocks: of each block, which tensor it is of, its first element there, its elements, and its unit,
            ``[4, blocks]``.
        firsts: the first block of each unit, and the end of the last one, ``[units + 1]``.
    """

    divisor: int
    blocks: Tensor
    firsts: Tensor


class Memory(NamedTuple):
    """Where tensors are.

    Attributes:
        divisor: a number of bytes of which all addresses are multiples, as far as that matters to the kernels.
        addresses: on the device, ``[tensors]``.
    """

    divisor: int
    addresses: Tensor


def read_sizes(dtype: torch.dtype, plan: Plan, *memories: Memory) -> dict[str, int]:
    """Return how much a thread may read at once: several elements, if the address of each block allows it.

    Args:
        dtype: of the elements.
        plan: how their tensors are cut into blocks.
        memories: where those are.

    Returns:
        The kernels' arguments of that, in bytes and in elements.
    """
    divisor = gcd(plan.divisor * dtype.itemsize, *(memory.divisor for memory in memories))
    size = dtype.itemsize if divisor % ALIGNMENT else ALIGNMENT
    return {"BYTES": size, "STEP": size // dtype.itemsize}


def shapes_of(tensors: Sequence[Tensor]) -> Shapes:
    """Return the shape of each tensor."""
    return tuple([tensor.shape for tensor in tensors])


@lru_cache(maxsize=64)
def units_and_elements(shapes: Shapes) -> tuple[int, int]:
    """Return how many units and elements tensors of these shapes have together."""
    return sum(map(units_of, shapes)), sum(map(torch.Size.numel, shapes))


def units_of(shape: torch.Size) -> int:
    """Return how many units a tensor of this shape has: slices of its first dimension; a vector is one."""
    return shape[0] if len(shape) > 1 else 1


def in_memory_order(tensors: Sequence[Tensor], like: Sequence[Tensor], kept: int) -> Sequence[Tensor]:
    """Return each tensor's elements in the order in which another has its own in memory; copied only if it has gaps.

    Args:
        tensors: the tensors.
        like: the others, one for each.
        kept: dimensions that stay where they are, the first ones.
    """
    are_contiguous = all(map(Tensor.is_contiguous, tensors))
    if are_contiguous and (tensors is like or all(map(Tensor.is_contiguous, like))):
        return tensors
    return [by_stride(*pair, kept).contiguous() for pair in zip(tensors, like, strict=True)]


def by_stride(tensor: Tensor, like: Tensor, kept: int) -> Tensor:
    """Return a view of a tensor, its dimensions in the order that another one has in memory.

    Args:
        tensor: the tensor.
        like: the other one.
        kept: dimensions that stay where they are, the first ones.
    """
    if like.is_contiguous():
        return tensor.detach()
    order = sorted(range(kept, like.ndim), key=like.stride, reverse=True)
    return tensor.detach().permute(*range(min(kept, like.ndim)), *order)


def find_memory(tensors: Sequence[Tensor]) -> Memory:
    """Return where tensors are; the kernels may run on the current stream only."""
    device = tensors[0].device
    return _memory(tuple([tensor.data_ptr() for tensor in tensors]), device, _stream(device))


@lru_cache(maxsize=64)
def _memory(addresses: tuple[int, ...], device: torch.device, stream: int) -> Memory:  # noqa: ARG001
    """Copy addresses to the device; ``stream`` is that which uses them, whose copy it waits for."""
    numbers = np.array(addresses, dtype=np.int64)
    return Memory(int(np.gcd.reduce(numbers, initial=ALIGNMENT)), _on_device(numbers, device))


def plan_blocks(tensors: Sequence[Tensor], launch: Launch) -> Plan:
    """Return how tensors are cut into blocks; the kernels may run on the current stream only."""
    device = tensors[0].device
    shapes = shapes_of(tensors) if launch.kept else tuple(map(Tensor.numel, tensors))
    return _plan(shapes, launch, device, _stream(device))


@lru_cache(maxsize=64)
def _plan(shapes: Shapes | tuple[int, ...], launch: Launch, device: torch.device, stream: int) -> Plan:  # noqa: ARG001
    """Cut tensors into blocks.

    Args:
        shapes: the shape of each tensor; where each is one unit, its number of elements, which is compared sooner.
        launch: what blocks are like.
        device: where the plan is used.
        stream: that which uses it, whose copy it waits for.
    """
    both = [(1, shape) if isinstance(shape, int) else (units_of(shape), shape.numel()) for shape in shapes]
    units, elements = np.array(both, dtype=np.int64).T
    sizes = elements // np.maximum(units, 1)
    tensor_of = np.repeat(np.arange(len(units)), units)
    unit_of = np.repeat(np.arange(len(tensor_of)), -(-sizes // launch.block)[tensor_of])
    firsts = np.searchsorted(unit_of, np.arange(len(tensor_of) + 1))
    within = (np.arange(len(unit_of)) - firsts[unit_of]) * launch.block
    owners = tensor_of[unit_of]
    starts = (unit_of - (np.cumsum(units) - units)[owners]) * sizes[owners] + within
    lengths = np.minimum(sizes[owners] - within, launch.block)
    blocks = np.stack([owners, starts, lengths, unit_of])
    return Plan(int(np.gcd.reduce(starts)), _on_device(blocks, device), _on_device(firsts, device))


def _stream(device: torch.device) -> int:
    """The stream on which a plan is copied, and on which alone it is there in time."""
    return torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0


def _on_device(numbers: NDArray[np.int64], device: torch.device) -> Tensor:
    """Copy numbers to the device by way of memory from which it reads without a wait."""
    tensor = torch.from_numpy(numbers)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
