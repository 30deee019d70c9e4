"""Norms of many tensors on a CUDA device, by a Triton kernel that reads each element once.

Launching kernels costs more than reading: torch needs several launches for each tensor, this module three for all
tensors. Squares are summed in float64, in an order that depends only on the tensor's size, so a norm does not depend on
the other tensors measured with it. Without Triton, which comes with torch for CUDA, :mod:`gradclip.norms.tensors` falls
back to torch.
"""

import warnings
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch._C._functorch import peek_interpreter_stack
from torch.autograd.graph import increment_version

from gradclip.norms.gpu_plans import (
    UNITS,
    WHOLE,
    Launch,
    by_stride,
    find_memory,
    in_memory_order,
    plan_blocks,
    read_sizes,
    shapes_of,
    units_and_elements,
    units_of,
)

FEW = 1_000_000  # elements; up to this number, torch's own kernels are as fast, since they launch sooner
NARROW = (torch.float32, torch.float16, torch.bfloat16)  # types whose squares float64 holds
SMALLEST_UNIT = 64  # elements on average; a plan has about 10 numbers for each unit


class Measures(NamedTuple):
    """Measures of some tensors, ``[tensors]`` each, in float64.

    Attributes:
        norms: the L2 norm; NaN if an element is NaN, infinite only if an element is infinite.
        largest: the largest magnitude; NaN if an element is NaN.
        nonfinite: number of elements that are not finite.
    """

    norms: Tensor
    largest: Tensor
    nonfinite: Tensor


def can_measure(tensors: Sequence[Tensor], others: Sequence[Tensor] = ()) -> bool:
    """Return whether the kernel can measure all tensors together.

    It reads the memory of ordinary tensors on one CUDA device, and records no graph for autograd. It cannot run under
    ``torch.compile`` or in a captured CUDA graph, whose replays would use outdated addresses.

    Args:
        tensors: the tensors.
        others: the tensors to compare them with, one for each; empty without a comparison.
    """
    if not tensors or not tensors[0].is_cuda or torch.compiler.is_compiling():
        return False
    are_alike = not others or (shapes_of(tensors) == shapes_of(others) and _types(tensors) == _types(others))
    are_ordinary = are_alike and _are_ordinary([*tensors, *others] if others else tensors)
    return are_ordinary and not torch.cuda.is_current_stream_capturing() and _has_kernel(tensors[0].device)


def is_quicker(tensors: Sequence[Tensor]) -> bool:
    """Return whether the kernel can measure norms of tensors, and is faster than one call of torch for all."""
    is_large = tensors[0].is_cuda and sum(tensor.numel() for tensor in tensors) > FEW
    return is_large and can_measure(tensors)


def can_measure_units(tensors: Sequence[Tensor]) -> bool:
    """Return whether the kernel can measure all units, and the units are large compared with the plan."""
    if not tensors or not tensors[0].is_cuda:
        return False
    units, elements = units_and_elements(shapes_of(tensors))
    return elements >= SMALLEST_UNIT * units and can_measure(tensors)


def _are_ordinary(tensors: Sequence[Tensor]) -> bool:
    """Return whether tensors are ordinary memory of one device; checking one property for all at a time is fastest."""
    return (
        {type(tensor) for tensor in tensors} <= {Tensor, nn.Parameter}
        and {tensor.dtype for tensor in tensors} <= {*NARROW}
        and {tensor.layout for tensor in tensors} == {torch.strided}
        and {tensor.get_device() for tensor in tensors} == {tensors[0].get_device()}  # -1 on a CPU
        and not any(map(Tensor.is_neg, tensors))
        and not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))
        and peek_interpreter_stack() is None  # in a transform such as torch.vmap, a tensor may represent many
    )


@lru_cache
def _has_kernel(device: torch.device) -> bool:
    """Return whether Triton is installed and can compile for the device, which needs a C compiler."""
    if find_spec("triton") is None:
        return False
    try:
        _measure_alike([torch.ones(1, device=device)], WHOLE)
    except Exception as error:  # a compiler, linker or driver may raise anything; torch does the same, more slowly
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        warnings.warn(
            f"gradclip measures gradients more slowly because Triton does not work here: {reason}", stacklevel=2
        )
        return False
    return True


def measure(tensors: Sequence[Tensor]) -> Measures:
    """Measure tensors that :func:`can_measure` allows, without waiting for the device."""
    squares, largest, nonfinite = _measure(tensors, WHOLE)
    return Measures(squares.sqrt(), largest, nonfinite)


def unit_norms(tensors: Sequence[Tensor]) -> Tensor:
    """Return the norms of all units of tensors that :func:`can_measure_units` allows, ``[units]``, in float64."""
    return _measure(tensors, UNITS)[0].sqrt()


def change_norms(tensors: Sequence[Tensor], before: Sequence[Tensor]) -> Tensor:
    """Return the norm of each tensor's change, ``[tensors]``, in float64."""
    return _measure(tensors, WHOLE, before, "minus")[0].sqrt()


def inner_products(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Return the inner product of each tensor with its other tensor, ``[tensors]``, in float64."""
    return _measure(tensors, WHOLE, others, "times")[0]


def multiply_units(tensors: Sequence[Tensor], factors: Tensor) -> None:
    """Multiply units in place, in the order of the norms from :func:`unit_norms`.

    Args:
        tensors: the tensors.
        factors: the factor of each unit, ``[units]``, in float64; a unit whose factor is 1 is not touched.
    """
    if len({tensor.dtype for tensor in tensors}) == 1:
        _multiply_alike(tensors, factors)
    else:
        parts = torch.split(factors, [units_of(tensor.shape) for tensor in tensors])
        for indices in _indices_by_type(tensors):
            _multiply_alike([tensors[index] for index in indices], torch.cat([parts[index] for index in indices]))
    increment_version(tensors)  # as torch's in-place operations do


def _multiply_alike(tensors: Sequence[Tensor], factors: Tensor) -> None:
    """Multiply units of tensors of one type, as :func:`multiply_units` does for mixed types."""
    from gradclip.norms.gpu_kernels import KINDS, multiply_blocks

    ordered, kind = in_memory_order(tensors, tensors, UNITS.kept), tensors[0].dtype
    with torch.cuda.device_of(tensors[0]):  # type: ignore[no-untyped-call]
        plan, memory = plan_blocks(ordered, UNITS), find_memory(ordered)
        blocks = plan.blocks.shape[1]
        if blocks:
            multiply_blocks[(blocks,)](
                *(memory.addresses, plan.blocks, factors),
                KIND=KINDS[kind],
                BLOCK=UNITS.block,
                **read_sizes(kind, plan, memory),
                num_warps=UNITS.warps,
            )
    if ordered is not tensors:
        for tensor, multiplied in zip(tensors, ordered, strict=True):
            if multiplied.data_ptr() != tensor.data_ptr():  # a copy, because of gaps between units in memory
                by_stride(tensor, tensor, UNITS.kept).copy_(multiplied)


def _measure(tensors: Sequence[Tensor], launch: Launch, others: Sequence[Tensor] = (), mode: str = "") -> Tensor:
    """Return the sum of squares, the largest magnitude and the number of non-finite elements of units, ``[3, units]``.

    Args:
        tensors: the tensors; each is one unit as a whole, unless the launch is ``UNITS``.
        launch: how the kernels divide their work.
        others: the tensors to compare them with; empty without a comparison.
        mode: the kind of comparison, ``MODE`` of the kernel.
    """
    if len({tensor.dtype for tensor in tensors}) == 1:
        return _measure_alike(tensors, launch, others, mode)
    parts: dict[int, Tensor] = {}
    for indices in _indices_by_type(tensors):
        alike = [tensors[index] for index in indices]
        compared = [others[index] for index in indices] if others else ()
        units = [units_of(tensor.shape) if launch.kept else 1 for tensor in alike]
        measured = torch.split(_measure_alike(alike, launch, compared, mode), units, dim=1)
        parts |= zip(indices, measured, strict=True)
    return torch.cat([parts[index] for index in range(len(tensors))], dim=1)


def _measure_alike(tensors: Sequence[Tensor], launch: Launch, others: Sequence[Tensor] = (), mode: str = "") -> Tensor:
    """Measure tensors of one type, as :func:`_measure` does for mixed types."""
    from gradclip.norms.gpu_kernels import KINDS, join_blocks, measure_blocks

    device, kind = tensors[0].device, tensors[0].dtype
    ordered = in_memory_order(tensors, tensors, launch.kept)
    compared = in_memory_order(others, tensors, launch.kept) if others else ordered
    with torch.cuda.device_of(tensors[0]):  # type: ignore[no-untyped-call]
        plan, memory = plan_blocks(ordered, launch), find_memory(ordered)
        memory_of_others = find_memory(compared) if others else memory
        blocks, units = plan.blocks.shape[1], len(plan.firsts) - 1
        block_measures = torch.empty((3, blocks), dtype=torch.float64, device=device)
        measures = torch.empty((3, units), dtype=torch.float64, device=device)
        if blocks:
            measure_blocks[(blocks,)](
                *(memory.addresses, memory_of_others.addresses, plan.blocks, block_measures),
                KIND=KINDS[kind],
                BLOCK=launch.block,
                CHUNK=launch.chunk,
                MODE=mode,
                **read_sizes(kind, plan, memory, memory_of_others),
                num_warps=launch.warps,
            )
        if units:
            warps = max(1, launch.joined // 256)
            join_blocks[(units,)](block_measures, plan.firsts, measures, blocks, CHUNK=launch.joined, num_warps=warps)
    return measures


def _types(tensors: Sequence[Tensor]) -> list[torch.dtype]:
    return [tensor.dtype for tensor in tensors]


def _indices_by_type(tensors: Sequence[Tensor]) -> list[list[int]]:
    types = _types(tensors)
    return [[index for index, other in enumerate(types) if other == dtype] for dtype in dict.fromkeys(types)]
