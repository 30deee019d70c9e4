"""The Triton kernels of :mod:`gradclip.norms.gpu`; this is the only module that imports Triton."""

import torch
import triton
import triton.language as tl

KINDS = {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}


@triton.jit
def measure_blocks(
    addresses,
    others,
    plan,
    found,
    KIND: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
    CHUNK: tl.constexpr,  # noqa: N803
    MODE: tl.constexpr,  # noqa: N803
    BYTES: tl.constexpr,  # noqa: N803
    STEP: tl.constexpr,  # noqa: N803
):
    """Write the sum of squares, the largest magnitude and the number of non-finite elements of one block.

    Args:
        addresses: the addresses of the tensors, int64.
        others: the addresses of the tensors to compare with.
        plan: the tensor of each block, its first element there, its number of elements, and its unit, int64.
        found: the three numbers of each block, ``[3, blocks]``, float64.
        KIND: the type of the elements.
        BLOCK: the largest number of elements in a block.
        CHUNK: the number of elements that are read at once.
        MODE: "minus" subtracts the others first, "times" multiplies by them instead of squaring; or "".
        BYTES: the alignment of each block's start, which is the number of bytes that a thread reads at once.
        STEP: the number of elements in these bytes.
    """
    block = tl.program_id(0)
    blocks = tl.num_programs(0)
    owner = tl.load(plan + block)
    start = tl.load(plan + blocks + block)
    length = tl.load(plan + 2 * blocks + block)
    source = tl.load(addresses + owner).to(tl.pointer_type(KIND)) + start
    other = tl.load(others + owner).to(tl.pointer_type(KIND)) + start
    if length % STEP == 0:
        squares, largest, nonfinite = _measure(source, other, length, BLOCK, CHUNK, MODE, BYTES, STEP)
    else:
        squares, largest, nonfinite = _measure(source, other, length, BLOCK, CHUNK, MODE, BYTES, 1)
    tl.store(found + block, tl.sum(squares, 0))
    tl.store(found + blocks + block, tl.max(largest, 0).to(tl.float64))
    tl.store(found + 2 * blocks + block, tl.sum(nonfinite, 0).to(tl.float64))


@triton.jit
def _measure(
    source,
    other,
    length,
    BLOCK: tl.constexpr,  # noqa: N803
    CHUNK: tl.constexpr,  # noqa: N803
    MODE: tl.constexpr,  # noqa: N803
    BYTES: tl.constexpr,  # noqa: N803
    STEP: tl.constexpr,  # noqa: N803
):
    squares = tl.zeros([CHUNK], tl.float64)
    largest = tl.zeros([CHUNK], tl.float32)
    nonfinite = tl.zeros([CHUNK], tl.int32)
    for offset in range(0, BLOCK, CHUNK):
        places = offset + tl.arange(0, CHUNK)
        elements = _read(source, places, length, BYTES, STEP)
        factors = elements
        if MODE != "":
            factors = _read(other, places, length, BYTES, STEP)
        if MODE == "minus":
            elements -= factors
            factors = elements
        squares += elements * factors
        size = tl.abs(elements.to(tl.float32))
        largest = tl.maximum(largest, size)
        nonfinite += (~(size < float("inf"))).to(tl.int32)  # the comparison is false for NaN, too
    return squares, largest, nonfinite


@triton.jit
def _read(source, places, length, BYTES: tl.constexpr, STEP: tl.constexpr):  # noqa: N803
    """Return the elements at these places in float64, with zeros beyond the length."""
    elements = tl.load(tl.multiple_of(source + places, BYTES), mask=_are_inside(places, length, STEP), other=0.0)
    return elements.to(tl.float32).to(tl.float64)


@triton.jit
def _are_inside(places, length, STEP: tl.constexpr):  # noqa: N803
    """Return whether places are below a length that is a multiple of the step.

    The expression is equal for all places within a step, so the compiler sees that a thread may read them at once.
    """
    return places // STEP < length // STEP


@triton.jit(do_not_specialize=["blocks"])
def join_blocks(found, firsts, measures, blocks, CHUNK: tl.constexpr):  # noqa: N803
    """Write the sum of squares, the largest magnitude and the number of non-finite elements of one unit.

    Args:
        found: the three numbers of each block, as :func:`measure_blocks` writes them.
        firsts: the first block of each unit, and the end of the last one.
        measures: the three numbers of each unit, ``[3, units]``, float64.
        blocks: the number of blocks.
        CHUNK: the number of blocks that are read at once.
    """
    unit = tl.program_id(0)
    units = tl.num_programs(0)
    start = tl.load(firsts + unit)
    end = tl.load(firsts + unit + 1)
    squares = tl.zeros([CHUNK], tl.float64)
    largest = tl.zeros([CHUNK], tl.float64)
    nonfinite = tl.zeros([CHUNK], tl.float64)
    while start < end:
        places = start + tl.arange(0, CHUNK)
        is_inside = places < end
        squares += tl.load(found + places, mask=is_inside, other=0.0)
        largest = tl.maximum(largest, tl.load(found + blocks + places, mask=is_inside, other=0.0))
        nonfinite += tl.load(found + 2 * blocks + places, mask=is_inside, other=0.0)
        start += CHUNK
    total = tl.sum(squares, 0)
    tl.store(measures + unit, total)
    # A sum of squares is NaN if and only if an element is; a maximum ignores NaN.
    tl.store(measures + units + unit, tl.where(total == total, tl.max(largest, 0), total))  # noqa: PLR0124
    tl.store(measures + 2 * units + unit, tl.sum(nonfinite, 0))


@triton.jit
def multiply_blocks(
    addresses,
    plan,
    factors,
    KIND: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
    BYTES: tl.constexpr,  # noqa: N803
    STEP: tl.constexpr,  # noqa: N803
):
    """Multiply one block in place by its unit's factor, in float64.

    Args:
        addresses: the addresses of the tensors, int64.
        plan: as in :func:`measure_blocks`.
        factors: the factor of each unit, float64; if it is 1, nothing is read or written.
        KIND: the type of the elements.
        BLOCK: the largest number of elements in a block, all of which are multiplied at once.
        BYTES: as in :func:`measure_blocks`.
        STEP: as in :func:`measure_blocks`.
    """
    block = tl.program_id(0)
    blocks = tl.num_programs(0)
    factor = tl.load(factors + tl.load(plan + 3 * blocks + block))
    if factor != 1.0:
        length = tl.load(plan + 2 * blocks + block)
        target = tl.load(addresses + tl.load(plan + block)).to(tl.pointer_type(KIND)) + tl.load(plan + blocks + block)
        if length % STEP == 0:
            _multiply(target, length, factor, KIND, BLOCK, BYTES, STEP)
        else:
            _multiply(target, length, factor, KIND, BLOCK, BYTES, 1)


@triton.jit
def _multiply(
    target,
    length,
    factor,
    KIND: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
    BYTES: tl.constexpr,  # noqa: N803
    STEP: tl.constexpr,  # noqa: N803
):
    places = tl.arange(0, BLOCK)
    products = _read(target, places, length, BYTES, STEP) * factor
    pointers = tl.multiple_of(target + places, BYTES)
    tl.store(pointers, products.to(tl.float32).to(KIND), mask=_are_inside(places, length, STEP))
