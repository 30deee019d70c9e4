"""Norms of many tensors on a CPU, in float32: small tensors together, large ones in blocks that fit in the cache.

These norms can over- and underflow; :mod:`gradclip.norms.tensors` checks for that.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors

BLOCK = 65_536  # elements; float32 sums their squares to 4 digits at least
SMALL = 4096  # elements; a copy costs less than a separate call
MIN_GROUP = 8  # small tensors of one size; from this number on, copies cost less
MAX_GROUP = 64  # small tensors; their copies stay in the cache


class _Plan(NamedTuple):
    """Plan by which tensors of certain sizes are measured.

    Attributes:
        groups: indices of small tensors of one size, which are copied into one matrix.
        others: indices of the other tensors, which are measured in blocks.
        owners: the index of each norm's tensor, in the order in which norms are measured.
        places: the inverse of this order if each tensor has one norm; else None.
    """

    groups: list[list[int]]
    others: list[int]
    owners: Tensor
    places: Tensor | None


@lru_cache(maxsize=64)
def _plan(sizes: tuple[int, ...], can_group: bool) -> _Plan:
    alike: dict[int, list[int]] = {}
    for index, size in enumerate(sizes):
        if can_group and 0 < size <= SMALL:
            alike.setdefault(size, []).append(index)
    many = [indices for indices in alike.values() if len(indices) >= MIN_GROUP]
    groups = [indices[start : start + MAX_GROUP] for indices in many for start in range(0, len(indices), MAX_GROUP)]
    grouped = [index for group in groups for index in group]
    others = sorted({*range(len(sizes))} - {*grouped})
    of_blocks = [index for index in others for _ in range(max(1, -(-sizes[index] // BLOCK)))]
    with torch.inference_mode(False):  # a plan outlives the mode and the default device of its first use
        owners = torch.tensor(grouped + of_blocks, device="cpu")
        places = owners.argsort() if len(owners) == len(sizes) else None
    return _Plan(groups, others, owners, places)


def unchecked_norms(
    tensors: Sequence[Tensor], order: float, extremes: list[Tensor] | None = None, minus: Sequence[Tensor] | None = None
) -> Tensor:
    """Return the norm of each tensor, ``[tensors]``, in float64; the powers are summed in float32.

    The norms of blocks are joined in float64: a float32 sum of ten million squares would be several percent too small.
    Magnitudes are summed by ``sum``, which adds in pairs: the norm of order 1 adds one by one, and 65,536 magnitudes
    would be almost 0.1% too large.

    Args:
        tensors: real tensors of at most 32 bits.
        order: the order of the norm, 1 or 2.
        extremes: a list that receives the least and the largest element of each block; None if they are not needed.
        minus: tensors to subtract first, one for each tensor; None subtracts nothing.

    Example:
        >>> unchecked_norms([torch.tensor([3.0, 4.0]), torch.tensor([1.0])], 2)
        tensor([5., 1.], dtype=torch.float64)
    """
    are_plain = extremes is None and minus is None
    if are_plain and len(tensors) < MIN_GROUP and all(tensor.numel() <= BLOCK for tensor in tensors):
        return _norms_of_blocks(tensors, order).double()
    can_group = {tensor.dtype for tensor in tensors} == {torch.float32}
    plan = _plan(tuple([tensor.numel() for tensor in tensors]), can_group)
    if are_plain:  # one call measures all blocks; below, each piece is measured while it is in the cache
        parts = [_norms_of_rows(group, order) for group in _groups(tensors, plan)]
        blocks = [*_blocks(tensors, plan)]
        parts += [_norms_of_blocks(blocks, order)] if blocks else []
    else:
        pieces = _pieces(tensors, plan)
        if minus is not None:
            pieces = _differences(pieces, _pieces(minus, plan))
        parts = [_norms_of_rows(piece, order, extremes) for piece in pieces]
    norms = torch.cat(parts).double()
    if plan.places is not None:
        return norms[plan.places] if plan.groups else norms
    return norms.new_zeros(len(tensors)).index_add(0, plan.owners, norms.pow(order)).pow(1 / order)


def _pieces(tensors: Sequence[Tensor], plan: _Plan) -> Iterator[Tensor]:
    """Yield all elements as matrices with one norm for each row."""
    yield from _groups(tensors, plan)
    for block in _blocks(tensors, plan):
        yield block.reshape(1, -1)


def _differences(pieces: Iterator[Tensor], others: Iterator[Tensor]) -> Iterator[Tensor]:
    """Yield the differences one after the other in the same memory: new memory costs more than the subtraction."""
    memory = torch.empty(0, device="cpu")
    for piece, other in zip(pieces, others, strict=True):
        if memory.numel() < piece.numel() or memory.dtype != piece.dtype:
            memory = piece.new_empty(piece.numel())
        yield torch.sub(piece, other, out=memory[: piece.numel()].view(piece.shape))


def _groups(tensors: Sequence[Tensor], plan: _Plan) -> Iterator[Tensor]:
    for group in plan.groups:
        flat: Tensor = _flatten_dense_tensors([tensors[index] for index in group])  # type: ignore[no-untyped-call]
        yield flat.view(len(group), -1)


def _blocks(tensors: Sequence[Tensor], plan: _Plan) -> Iterable[Tensor]:
    for tensor in map(tensors.__getitem__, plan.others):
        if tensor.numel() > BLOCK:
            yield from torch.split(tensor.reshape(-1), BLOCK)
        else:
            yield tensor


def _norms_of_blocks(blocks: Sequence[Tensor], order: float) -> Tensor:
    if order == 1:
        return torch.stack([block.abs().sum(dtype=torch.float32) for block in blocks])
    return torch.stack(torch._foreach_norm(list(blocks), order, dtype=torch.float32))


def _norms_of_rows(rows: Tensor, order: float, extremes: list[Tensor] | None = None) -> Tensor:
    if extremes is not None and rows.numel():
        extremes += torch.aminmax(rows)
    if order == 1:
        return rows.abs().sum(dim=1, dtype=torch.float32)
    norms: Tensor = torch.linalg.vector_norm(rows.float(), order, dim=1)
    return norms
