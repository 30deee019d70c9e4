"""Norms of many tensors on a CPU, in float32: small tensors together, large ones in blocks that fit in the cache.

These norms can over- and underflow; :mod:`gradclip.norms.tensors` checks for that.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors

BLOCK = 65_536  # elements; float32 sums their squares to 4 digits at least
SMALL = 4096  # elements; a copy costs less than a separate call
MIN_GROUP = 8  # small tensors of one size; from this number on, copies cost less
MAX_GROUP = 64  # small tensors; their copies stay in the cache
CACHED = 131_072  # elements of several blocks, which stay in the cache for a second pass; new memory for them is cheap


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
    are_few = len(tensors) < MIN_GROUP and all(tensor.numel() <= BLOCK for tensor in tensors)
    if are_few and extremes is None and minus is None:
        return _norms_of_blocks(tensors, order).double()
    can_group = {tensor.dtype for tensor in tensors} == {torch.float32}
    plan = _plan(tuple([tensor.numel() for tensor in tensors]), can_group)
    groups = _groups(tensors, plan)
    batches: Iterator[Sequence[Tensor]] = _batches(tensors, plan)
    if minus is not None:
        groups = map(torch.sub, groups, _groups(minus, plan))
        batches = map(torch._foreach_sub, _batches(tensors, plan), _batches(minus, plan))
    parts = [_norms_of_rows(rows, order, extremes) for rows in groups]
    parts += [_norms_of_blocks(blocks, order, extremes) for blocks in batches]
    norms = torch.cat(parts).double()
    if plan.places is not None:
        return norms[plan.places] if plan.groups else norms
    return norms.new_zeros(len(tensors)).index_add(0, plan.owners, norms.pow(order)).pow(1 / order)


def _groups(tensors: Sequence[Tensor], plan: _Plan) -> Iterator[Tensor]:
    for group in plan.groups:
        flat: Tensor = _flatten_dense_tensors([tensors[index] for index in group])  # type: ignore[no-untyped-call]
        yield flat.view(len(group), -1)


def _batches(tensors: Sequence[Tensor], plan: _Plan) -> Iterator[list[Tensor]]:
    """Yield the blocks of all tensors without a group in lists that fit in the cache."""
    batch: list[Tensor] = []
    room = CACHED
    for tensor in map(tensors.__getitem__, plan.others):
        for block in torch.split(tensor.reshape(-1), BLOCK) if tensor.numel() > BLOCK else [tensor]:
            if batch and block.numel() > room:
                yield batch
                batch, room = [], CACHED
            batch.append(block)
            room -= block.numel()
    if batch:
        yield batch


def _norms_of_blocks(blocks: Sequence[Tensor], order: float, extremes: list[Tensor] | None = None) -> Tensor:
    if extremes is not None:
        extremes += [end for block in blocks if block.numel() for end in torch.aminmax(block)]
    if order == 1:
        return torch.stack([block.abs().sum(dtype=torch.float32) for block in blocks])
    return torch.stack(torch._foreach_norm(list(blocks), order, dtype=torch.float32))


def _norms_of_rows(rows: Tensor, order: float, extremes: list[Tensor] | None = None) -> Tensor:
    if extremes is not None:
        extremes += torch.aminmax(rows)
    if order == 1:
        return rows.abs().sum(dim=1, dtype=torch.float32)
    norms: Tensor = torch.linalg.vector_norm(rows, order, dim=1)
    return norms
