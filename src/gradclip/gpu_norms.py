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
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor

BLOCK = 16_384  # elements that one program of the device reads
CHUNK = 2048  # of them at once
JOINED = 1024  # blocks that are joined at once
WARPS = 8
ALIGNMENT = 16  # bytes that a thread reads at once
TYPES = (torch.float32, torch.float16, torch.bfloat16)  # whose squares float64 holds


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
    """How tensors are cut into blocks, which follows from their sizes, as tensors on the device.

    Attributes:
        owners: which tensor each block is of.
        starts: the first element of each block in its tensor.
        lengths: elements of each block.
        firsts: the first block of each tensor, and the end of the last one.
    """

    owners: Tensor
    starts: Tensor
    lengths: Tensor
    firsts: Tensor


def can_measure(tensors: Sequence[Tensor]) -> bool:
    """Return whether the kernel can measure all tensors together.

    It sees the memory of ordinary tensors of one CUDA device. It records no graph for autograd, and can itself be
    recorded neither by ``torch.compile`` nor in a CUDA graph, whose next replay would find addresses of this one.
    """
    if not tensors or not tensors[0].is_cuda or torch.compiler.is_compiling():
        return False
    device, records = tensors[0].device, torch.is_grad_enabled()
    are_ordinary = all(tensor.device == device and _is_ordinary(tensor, records) for tensor in tensors)
    return are_ordinary and not torch.cuda.is_current_stream_capturing() and _has_kernel(device)


def _is_ordinary(tensor: Tensor, records: bool) -> bool:
    """Whether a tensor is what its memory holds; ``records`` is whether autograd records what is done to tensors."""
    is_own_memory = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided
    is_recorded = records and tensor.requires_grad
    return is_own_memory and tensor.dtype in TYPES and not is_recorded and not is_functorch_wrapped_tensor(tensor)


@lru_cache
def _has_kernel(device: torch.device) -> bool:
    """Whether Triton is there and can compile for the device, for which it needs a C compiler."""
    if find_spec("triton") is None:
        return False
    try:
        _measure_alike([torch.ones(1, device=device)])
    except Exception as error:  # of a compiler, a linker, a driver: whatever it is, torch can do the same more slowly
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        warnings.warn(
            f"gradclip measures gradients more slowly, since Triton does not work here: {reason}", stacklevel=2
        )
        return False
    return True


def measure(tensors: Sequence[Tensor], minus: Sequence[Tensor] | None = None) -> Measures:
    """Measure tensors, without waiting for the device.

    Args:
        tensors: ones that :func:`can_measure` allows.
        minus: what is subtracted from each first, of the same shapes and types; None is nothing.
    """
    alike: dict[torch.dtype, list[int]] = {}
    for index, tensor in enumerate(tensors):
        alike.setdefault(tensor.dtype, []).append(index)
    if len(alike) == 1:
        return Measures(*_measure_alike(tensors, minus))
    columns: dict[int, Tensor] = {}
    for indices in alike.values():
        others = None if minus is None else [minus[index] for index in indices]
        measured = _measure_alike([tensors[index] for index in indices], others)
        columns |= dict(zip(indices, measured.unbind(1), strict=True))
    return Measures(*torch.stack([columns[index] for index in range(len(tensors))], dim=1))


def _measure_alike(tensors: Sequence[Tensor], minus: Sequence[Tensor] | None = None) -> Tensor:
    """Return the measures of tensors of one type, ``[3, tensors]``."""
    from triton.language import bfloat16, float16, float32

    from gradclip.gpu_kernels import join_blocks, measure_blocks

    device, dtype = tensors[0].device, tensors[0].dtype
    kind = {torch.float32: float32, torch.float16: float16, torch.bfloat16: bfloat16}[dtype]
    own = [_in_memory_order(tensor, tensor) for tensor in tensors]
    others = own if minus is None else [_in_memory_order(*pair) for pair in zip(minus, tensors, strict=True)]
    pointers = [[tensor.data_ptr() for tensor in of_all] for of_all in (own, others)]
    is_aligned = not any(pointer % ALIGNMENT for of_all in pointers for pointer in of_all)
    with torch.cuda.device_of(tensors[0]):  # type: ignore[no-untyped-call]
        plan = _plan(tuple([tensor.numel() for tensor in own]), device, _stream(device))
        addresses, of_others = _on_device(np.array(pointers), device)
        blocks = len(plan.owners)
        found = torch.empty((3, blocks), dtype=torch.float64, device=device)
        measures = torch.empty((3, len(tensors)), dtype=torch.float64, device=device)
        if blocks:
            measure_blocks[(blocks,)](
                *(addresses, of_others, plan.owners, plan.starts, plan.lengths, found),
                KIND=kind,
                BLOCK=BLOCK,
                CHUNK=CHUNK,
                HAS_OTHERS=minus is not None,
                BYTES=ALIGNMENT if is_aligned else dtype.itemsize,
                num_warps=WARPS,
            )
        join_blocks[(len(tensors),)](found, plan.firsts, measures, blocks, CHUNK=JOINED)
    return measures


def _in_memory_order(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor's elements in the order in which another one has its own in memory; copied only where it has gaps."""
    if tensor.is_contiguous() and (tensor is like or like.is_contiguous()):
        return tensor
    by_stride = sorted(range(like.ndim), key=like.stride, reverse=True)
    return tensor.detach().permute(by_stride).contiguous()


def _stream(device: torch.device) -> int:
    """The stream on which a plan is copied, and on which alone it is there in time."""
    return torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0


@lru_cache(maxsize=64)
def _plan(sizes: tuple[int, ...], device: torch.device, stream: int) -> _Plan:  # noqa: ARG001 its own for each stream
    counts = [-(-size // BLOCK) for size in sizes]
    firsts = np.cumsum([0, *counts])
    owners = np.repeat(np.arange(len(sizes)), counts)
    starts = (np.arange(len(owners)) - firsts[owners]) * BLOCK
    lengths = np.minimum(np.array(sizes)[owners] - starts, BLOCK)
    return _Plan(*(_on_device(column, device) for column in (owners, starts, lengths, firsts)))


def _on_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy whole numbers to the device by way of memory from which it can read without a wait."""
    tensor = torch.from_numpy(array.astype(np.int64))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
