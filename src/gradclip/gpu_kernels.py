"""The Triton kernels of :mod:`gradclip.gpu_norms`; this is the only module that imports Triton."""

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
):
    """Write the sum of squares, the largest magnitude and the number of non-finite elements of one block.

    Args:
        addresses: of the tensors, int64.
        others: addresses of the tensors that each is compared with.
        plan: of each block, which tensor it is of, its first element there, its elements, and its unit, int64.
        found: the three numbers of each block, ``[3, blocks]``, float64.
        KIND: the type of the elements.
        BLOCK: the most elements of a block.
        CHUNK: elements that are read at once.
        MODE: "minus", if the others are subtracted first; "times", for products with them in place of squares; or "".
        BYTES: of which the start of each block is a multiple; a thread reads so many at once.
    """
    block = tl.program_id(0)
    blocks = tl.num_programs(0)
    owner = tl.load(plan + block)
    start = tl.load(plan + blocks + block)
    length = tl.load(plan + 2 * blocks + block)
    source = tl.load(addresses + owner).to(tl.pointer_type(KIND)) + start
    other = tl.load(others + owner).to(tl.pointer_type(KIND)) + start
    squares = tl.zeros([CHUNK], tl.float64)
    largest = tl.zeros([CHUNK], tl.float32)
    nonfinite = tl.zeros([CHUNK], tl.int32)
    if length == BLOCK:
        for offset in range(0, BLOCK, CHUNK):  # without a mask, which keeps a thread from reading several at once
            places = offset + tl.arange(0, CHUNK)
            elements = _wide(tl.load(tl.multiple_of(source + places, BYTES)))
            compared = elements
            if MODE != "":
                compared = _wide(tl.load(tl.multiple_of(other + places, BYTES)))
            squares, largest, nonfinite = _add(elements, compared, squares, largest, nonfinite, MODE)
    else:
        for offset in range(0, BLOCK, CHUNK):
            places = offset + tl.arange(0, CHUNK)
            elements = _wide(tl.load(source + places, mask=places < length, other=0.0))
            compared = elements
            if MODE != "":
                compared = _wide(tl.load(other + places, mask=places < length, other=0.0))
            squares, largest, nonfinite = _add(elements, compared, squares, largest, nonfinite, MODE)
    tl.store(found + block, tl.sum(squares, 0))
    tl.store(found + blocks + block, tl.max(largest, 0).to(tl.float64))
    tl.store(found + 2 * blocks + block, tl.sum(nonfinite, 0).to(tl.float64))


@triton.jit
def _wide(elements):
    return elements.to(tl.float32).to(tl.float64)


@triton.jit
def _add(elements, others, squares, largest, nonfinite, MODE: tl.constexpr):  # noqa: N803
    if MODE == "minus":
        elements -= others
        others = elements
    size = tl.abs(elements.to(tl.float32))
    is_bad = ~(size < float("inf"))  # nor is NaN less
    return squares + elements * others, tl.maximum(largest, size), nonfinite + is_bad.to(tl.int32)


@triton.jit(do_not_specialize=["blocks"])
def join_blocks(found, firsts, measures, blocks, CHUNK: tl.constexpr):  # noqa: N803
    """Write the sum of squares, the largest magnitude and the number of non-finite elements of one unit.

    Args:
        found: of each block, as :func:`measure_blocks` writes it.
        firsts: the first block of each unit, and the end of the last one.
        measures: the three numbers of each unit, ``[3, units]``, float64.
        blocks: number of all blocks.
        CHUNK: blocks that are read at once.
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
    # A sum of squares is NaN if, and only if, an element is; a maximum passes over NaN.
    tl.store(measures + units + unit, tl.where(total == total, tl.max(largest, 0), total))  # noqa: PLR0124
    tl.store(measures + 2 * units + unit, tl.sum(nonfinite, 0))


@triton.jit
def multiply_blocks(
    addresses,
    plan,
    factors,
    KIND: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
    CHUNK: tl.constexpr,  # noqa: N803
    BYTES: tl.constexpr,  # noqa: N803
):
    """Multiply one block in place by its unit's factor, in float64.

    Args:
        addresses: of the tensors, int64.
        plan: as of :func:`measure_blocks`.
        factors: of the units, float64; where one is 1, nothing is read or written.
        KIND: the type of the elements.
        BLOCK: the most elements of a block.
        CHUNK: elements that are multiplied at once.
        BYTES: as of :func:`measure_blocks`.
    """
    block = tl.program_id(0)
    blocks = tl.num_programs(0)
    factor = tl.load(factors + tl.load(plan + 3 * blocks + block))
    if factor != 1.0:
        length = tl.load(plan + 2 * blocks + block)
        target = tl.load(addresses + tl.load(plan + block)).to(tl.pointer_type(KIND)) + tl.load(plan + blocks + block)
        for offset in range(0, BLOCK, CHUNK):
            places = offset + tl.arange(0, CHUNK)
            elements = tl.multiple_of(target + places, BYTES)
            products = _wide(tl.load(elements, mask=places < length, other=0.0)) * factor
            tl.store(elements, products.to(tl.float32).to(KIND), mask=places < length)
