"""Norms of many tensors on a CUDA device, by a Triton kernel that reads each element once.

Launches cost a device more than to read: torch needs several for each tensor, and here there are three for all tensors.
Squares are added up in float64, in an order which follows from the tensor's size, so that a norm is the same whichever
tensors are measured with it. Without Triton, which comes with torch for CUDA, :mod:`gradclip.norms` measures otherwise.
"""

import warnings
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor

ALIGNMENT = 16  # bytes that a thread reads at once
FEW = 1_000_000  # elements, which torch's own kernels, launched sooner, measure as quickly
TYPES = (torch.float32, torch.float16, torch.bfloat16)  # whose squares float64 holds


class _Launch(NamedTuple):
    """How the kernels divide their work.

    Attributes:
        block: elements that one program of the device reads, at most.
        chunk: of them at once.
        warps: of 32 threads, in a program.
        joined: blocks that are joined at once.
    """

    block: int
    chunk: int
    warps: int
    joined: int


WHOLE = _Launch(16_384, 2048, 8, 1024)
UNITS = _Launch(1024, 1024, 4, 16)  # of hundreds of elements, mostly
SMALLEST_UNIT = 64  # elements, on average; a plan has some 10 numbers for each unit


class Measures(NamedTuple):
    """What is known of some tensors, ``[tensors]`` each, in float64.

    Attributes:
        norms: the L2 norm; NaN if an element is, infinite only if an element is.
        largest: the largest magnitude; NaN if an element is.
        nonfinite: number of elements that are not finite.
    """

    norms: Tensor
    largest: Tensor
    nonfinite: Tensor


class _Plan(NamedTuple):
    """How tensors are cut into blocks, which follows from their sizes; tensors on the device.

    Attributes:
        divisor: the largest number of which all starts are multiples.
        owners: which tensor each block is of.
        starts: the first element of each block in its tensor.
        lengths: elements of each block.
        firsts: the first block of each unit, and the end of the last one.
    """

    divisor: int
    owners: Tensor
    starts: Tensor
    lengths: Tensor
    firsts: Tensor


def can_measure(tensors: Sequence[Tensor], others: Sequence[Tensor] = ()) -> bool:
    """Return whether the kernel can measure all tensors together.

    It sees the memory of ordinary tensors of one CUDA device. It records no graph for autograd, and can itself be
    recorded neither by ``torch.compile`` nor in a CUDA graph, whose next replay would find addresses of this one.

    Args:
        tensors: the tensors.
        others: what they are compared with, one for each; none, if with nothing.
    """
    if not tensors or not tensors[0].is_cuda or torch.compiler.is_compiling():
        return False
    device, records = tensors[0].device, torch.is_grad_enabled()
    are_ordinary = all(tensor.device == device and _is_ordinary(tensor, records) for tensor in (*tensors, *others))
    pairs = zip(tensors, others, strict=True) if others else ()
    are_alike = all(one.dtype == other.dtype and one.shape == other.shape for one, other in pairs)
    return are_ordinary and are_alike and not torch.cuda.is_current_stream_capturing() and _has_kernel(device)


def is_quicker(tensors: Sequence[Tensor]) -> bool:
    """Return whether the kernel can measure norms of tensors, and sooner than torch does by one call for all."""
    is_large = tensors[0].is_cuda and sum(tensor.numel() for tensor in tensors) > FEW
    return is_large and can_measure(tensors)


def can_measure_units(tensors: Sequence[Tensor]) -> bool:
    """Return whether the kernel can measure all units, which are large enough for the plan to be small beside them."""
    units = sum(_units(tensor) for tensor in tensors)
    return sum(tensor.numel() for tensor in tensors) >= SMALLEST_UNIT * units and can_measure(tensors)


def _is_ordinary(tensor: Tensor, records: bool) -> bool:
    """Whether a tensor is what its memory holds; ``records`` is whether autograd records what is done to tensors."""
    is_own_memory = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided and not tensor.is_neg()
    is_recorded = records and tensor.requires_grad
    return is_own_memory and tensor.dtype in TYPES and not is_recorded and not is_functorch_wrapped_tensor(tensor)


@lru_cache
def _has_kernel(device: torch.device) -> bool:
    """Whether Triton is there and can compile for the device, for which it needs a C compiler."""
    if find_spec("triton") is None:
        return False
    try:
        _measure_alike([torch.ones(1, device=device)], WHOLE)
    except Exception as error:  # of a compiler, a linker, a driver: whatever it is, torch can do the same more slowly
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        warnings.warn(
            f"gradclip measures gradients more slowly, since Triton does not work here: {reason}", stacklevel=2
        )
        return False
    return True


def measure(tensors: Sequence[Tensor]) -> Measures:
    """Measure tensors that :func:`can_measure` allows, without waiting for the device."""
    squares, largest, nonfinite = _measure(tensors, WHOLE)
    return Measures(squares.sqrt(), largest, nonfinite)


def unit_norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the norms of each tensor's units, as :func:`gradclip.unit_norms.unit_norms` does, in float64."""
    norms = torch.split(_measure(tensors, UNITS)[0].sqrt(), [_units(tensor) for tensor in tensors])
    shapes = [(len(tensor), *(1,) * (tensor.ndim - 1)) if tensor.ndim > 1 else () for tensor in tensors]
    return [norm.view(shape) for norm, shape in zip(norms, shapes, strict=True)]


def change_norms(tensors: Sequence[Tensor], before: Sequence[Tensor]) -> Tensor:
    """Return the norm of each tensor's change, ``[tensors]``, in float64."""
    return _measure(tensors, WHOLE, before, "minus")[0].sqrt()


def inner_products(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Return the inner product of each tensor and another one, ``[tensors]``, in float64."""
    return _measure(tensors, WHOLE, others, "times")[0]


def _measure(tensors: Sequence[Tensor], launch: _Launch, others: Sequence[Tensor] = (), mode: str = "") -> Tensor:
    """Return the sum of squares, the largest magnitude and the number of non-finite elements of units, ``[3, units]``.

    Args:
        tensors: the tensors; each is a unit as a whole, unless the launch is that of units.
        launch: how the kernels divide their work.
        others: what they are compared with, if with anything.
        mode: how, as of the kernel.
    """
    alike: dict[torch.dtype, list[int]] = {}
    for index, tensor in enumerate(tensors):
        alike.setdefault(tensor.dtype, []).append(index)
    if len(alike) == 1:
        return _measure_alike(tensors, launch, others, mode)
    parts: dict[int, Tensor] = {}
    for indices in alike.values():
        own, compared = ([some[index] for index in indices] if some else () for some in (tensors, others))
        units = [_units(tensor) if launch is UNITS else 1 for tensor in own]
        measured = torch.split(_measure_alike(own, launch, compared, mode), units, dim=1)
        parts |= zip(indices, measured, strict=True)
    return torch.cat([parts[index] for index in range(len(tensors))], dim=1)


def _measure_alike(tensors: Sequence[Tensor], launch: _Launch, others: Sequence[Tensor] = (), mode: str = "") -> Tensor:
    """Measure tensors of one type, as :func:`_measure` does those of any."""
    from triton.language import bfloat16, float16, float32

    from gradclip.gpu_kernels import join_blocks, measure_blocks

    device, dtype = tensors[0].device, tensors[0].dtype
    kept = 1 if launch is UNITS else 0
    own = [_in_memory_order(tensor, tensor, kept) for tensor in tensors]
    compared = [_in_memory_order(*pair, kept) for pair in zip(others, tensors, strict=True)] if others else own
    pointers = [np.array([tensor.data_ptr() for tensor in some], dtype=np.int64) for some in (own, compared)]
    shapes = tuple([(_units(tensor) if kept else 1, tensor.numel()) for tensor in own])
    with torch.cuda.device_of(tensors[0]):  # type: ignore[no-untyped-call]
        plan = _plan(shapes, launch.block, device, _stream(device))
        addresses = [_on_device(some, device) for some in (pointers if others else pointers[:1])]
        blocks, units = len(plan.owners), len(plan.firsts) - 1
        steps = np.array([plan.divisor * dtype.itemsize, *pointers[0], *pointers[1]])
        found = torch.empty((3, blocks), dtype=torch.float64, device=device)
        measures = torch.empty((3, units), dtype=torch.float64, device=device)
        if blocks:
            measure_blocks[(blocks,)](
                *(addresses[0], addresses[-1], plan.owners, plan.starts, plan.lengths, found),
                KIND={torch.float32: float32, torch.float16: float16, torch.bfloat16: bfloat16}[dtype],
                BLOCK=launch.block,
                CHUNK=launch.chunk,
                MODE=mode,
                BYTES=dtype.itemsize if (steps % ALIGNMENT).any() else ALIGNMENT,
                num_warps=launch.warps,
            )
        if units:
            warps = max(1, launch.joined // 256)
            join_blocks[(units,)](found, plan.firsts, measures, blocks, CHUNK=launch.joined, num_warps=warps)
    return measures


def _units(tensor: Tensor) -> int:
    return len(tensor) if tensor.ndim > 1 else 1


def _in_memory_order(tensor: Tensor, like: Tensor, kept: int) -> Tensor:
    """A tensor's elements in the order in which another one has its own in memory; copied only where it has gaps.

    Args:
        tensor: the tensor.
        like: the other one.
        kept: dimensions that stay where they are, the first ones.
    """
    if tensor.is_contiguous() and (tensor is like or like.is_contiguous()):
        return tensor
    by_stride = sorted(range(kept, like.ndim), key=like.stride, reverse=True)
    return tensor.detach().permute(*range(min(kept, like.ndim)), *by_stride).contiguous()


def _stream(device: torch.device) -> int:
    """The stream on which a plan is copied, and on which alone it is there in time."""
    return torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0


@lru_cache(maxsize=64)
def _plan(shapes: tuple[tuple[int, int], ...], block: int, device: torch.device, stream: int) -> _Plan:  # noqa: ARG001
    """Cut tensors into blocks.

    Args:
        shapes: units and elements of each tensor.
        block: the most elements of a block.
        device: where the plan is used.
        stream: that which uses it, whose copy it waits for.
    """
    units, elements = np.array(shapes, dtype=np.int64).T
    sizes = elements // np.maximum(units, 1)
    tensor_of = np.repeat(np.arange(len(units)), units)
    unit_of = np.repeat(np.arange(len(tensor_of)), -(-sizes // block)[tensor_of])
    firsts = np.searchsorted(unit_of, np.arange(len(tensor_of) + 1))
    within = (np.arange(len(unit_of)) - firsts[unit_of]) * block
    owners = tensor_of[unit_of]
    starts = (unit_of - (np.cumsum(units) - units)[owners]) * sizes[owners] + within
    lengths = np.minimum(sizes[owners] - within, block)
    columns = (_on_device(column, device) for column in (owners, starts, lengths, firsts))
    return _Plan(int(np.gcd.reduce(starts)), *columns)


def _on_device(numbers: NDArray[np.int64], device: torch.device) -> Tensor:
    """Copy numbers to the device by way of memory from which it reads without a wait."""
    tensor = torch.from_numpy(numbers)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
