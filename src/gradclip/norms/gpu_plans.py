"""Plans by which the kernels of :mod:`gradclip.norms.gpu` find the elements of many tensors in device memory.

To save host time at each step, results that depend only on sizes or addresses are cached, since both recur.
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
    """Division of the kernels' work.

    Attributes:
        kept: number of leading dimensions whose slices are units: 1, or 0 if each tensor is one unit.
        block: largest number of elements that one kernel program reads.
        chunk: number of elements that it reads at once.
        warps: number of warps of 32 threads in a program.
        joined: number of blocks that are joined at once.
    """

    kept: int
    block: int
    chunk: int
    warps: int
    joined: int


WHOLE = Launch(0, 16_384, 2048, 8, 1024)
UNITS = Launch(1, 1024, 1024, 4, 16)  # most units have hundreds of elements


class Plan(NamedTuple):
    """Division of tensors of certain shapes into blocks; the plan's own tensors are on the device.

    Attributes:
        divisor: the greatest common divisor of all starts.
        blocks: the tensor of each block, its first element there, its number of elements, and its unit,
            ``[4, blocks]``.
        firsts: the first block of each unit, and the end of the last one, ``[units + 1]``.
    """

    divisor: int
    blocks: Tensor
    firsts: Tensor


class Memory(NamedTuple):
    """The positions of tensors in device memory.

    Attributes:
        divisor: the greatest common divisor of all addresses and ``ALIGNMENT``.
        addresses: the addresses of the tensors, on the device, ``[tensors]``.
    """

    divisor: int
    addresses: Tensor


def read_sizes(dtype: torch.dtype, plan: Plan, *memories: Memory) -> dict[str, int]:
    """Return how much a thread may read at once: several elements if the address of each block allows it.

    Args:
        dtype: the type of the elements.
        plan: how the tensors are cut into blocks.
        memories: where the tensors are.

    Returns:
        The arguments of the kernels, in bytes and in elements.
    """
    divisor = gcd(plan.divisor * dtype.itemsize, *(memory.divisor for memory in memories))
    size = dtype.itemsize if divisor % ALIGNMENT else ALIGNMENT
    return {"BYTES": size, "STEP": size // dtype.itemsize}


def shapes_of(tensors: Sequence[Tensor]) -> Shapes:
    """Return the shape of each tensor."""
    return tuple([tensor.shape for tensor in tensors])


@lru_cache(maxsize=64)
def units_and_elements(shapes: Shapes) -> tuple[int, int]:
    """Return the total number of units and of elements in tensors of these shapes."""
    return sum(map(units_of, shapes)), sum(map(torch.Size.numel, shapes))


def units_of(shape: torch.Size) -> int:
    """Return the number of units in a tensor of this shape: slices of its first dimension; a vector is one unit."""
    return shape[0] if len(shape) > 1 else 1


def in_memory_order(tensors: Sequence[Tensor], like: Sequence[Tensor], kept: int) -> Sequence[Tensor]:
    """Return each tensor with its elements in the memory order of another tensor, copied only if there are gaps.

    Args:
        tensors: the tensors.
        like: the other tensors, one for each.
        kept: number of leading dimensions that keep their place.
    """
    are_contiguous = all(map(Tensor.is_contiguous, tensors))
    if are_contiguous and (tensors is like or all(map(Tensor.is_contiguous, like))):
        return tensors
    return [by_stride(*pair, kept).contiguous() for pair in zip(tensors, like, strict=True)]


def by_stride(tensor: Tensor, like: Tensor, kept: int) -> Tensor:
    """Return a view of a tensor with its dimensions in the memory order of another tensor.

    Args:
        tensor: the tensor.
        like: the other tensor.
        kept: number of leading dimensions that keep their place.
    """
    if like.is_contiguous():
        return tensor.detach()
    order = sorted(range(kept, like.ndim), key=like.stride, reverse=True)
    return tensor.detach().permute(*range(min(kept, like.ndim)), *order)


def find_memory(tensors: Sequence[Tensor]) -> Memory:
    """Return where tensors are, for kernels on the current stream only."""
    device = tensors[0].device
    return _memory(tuple([tensor.data_ptr() for tensor in tensors]), device, _stream(device))


@lru_cache(maxsize=64)
def _memory(addresses: tuple[int, ...], device: torch.device, stream: int) -> Memory:  # noqa: ARG001
    """Copy addresses to the device on ``stream``, the one that uses them."""
    numbers = np.array(addresses, dtype=np.int64)
    return Memory(int(np.gcd.reduce(numbers, initial=ALIGNMENT)), _on_device(numbers, device))


def plan_blocks(tensors: Sequence[Tensor], launch: Launch) -> Plan:
    """Return how tensors are cut into blocks, for kernels on the current stream only."""
    device = tensors[0].device
    shapes = shapes_of(tensors) if launch.kept else tuple(map(Tensor.numel, tensors))
    return _plan(shapes, launch, device, _stream(device))


@lru_cache(maxsize=64)
def _plan(shapes: Shapes | tuple[int, ...], launch: Launch, device: torch.device, stream: int) -> Plan:  # noqa: ARG001
    """Cut tensors into blocks.

    Args:
        shapes: the shape of each tensor; if each is one unit, its number of elements, which compares faster.
        launch: how the kernels divide their work.
        device: where the plan is used.
        stream: the stream on which the plan is copied and used.
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
    """Return the current stream, on which a plan is copied; only kernels on this stream wait for the copy."""
    return torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0


def _on_device(numbers: NDArray[np.int64], device: torch.device) -> Tensor:
    """Copy numbers to the device through pinned memory, without waiting."""
    tensor = torch.from_numpy(numbers)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
