"""The extremes and the mean loss of batches of any kind."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradclip.arrays import Booleans, Floats

MAX_TENSORS = 32  # tensors that are measured in one batch


def batch_extremes(batch: Any) -> list[Tensor]:
    """Return the minimum and maximum of a batch's inputs and of its targets, four scalars.

    For a batch that is not a pair of floating-point tensors, the list has one scalar, the sum of the batch's
    floating-point tensors, which is not finite if an element is not. If the batch has no such tensors, the list is
    empty.

    Example:
        >>> batch_extremes((torch.tensor([1.0, -2.0]), torch.tensor([5.0])))
        [tensor(-2.), tensor(1.), tensor(5.), tensor(5.)]
        >>> batch_extremes({"image": torch.tensor([1.0, torch.nan]), "label": torch.tensor([2])})
        [tensor(nan)]
    """
    if isinstance(batch, list | tuple) and len(batch) == 2:
        pair = [part.detach() for part in batch if _is_real(part)]
        if len(pair) == 2:
            return [extreme for part in pair for extreme in part.aminmax()]
    parts = [part.detach() for part in islice(_real_parts(batch), MAX_TENSORS)]
    return _total([part.sum(dtype=torch.promote_types(part.dtype, torch.float32)) for part in parts])


def merge_extremes(batches: Sequence[list[Tensor]]) -> list[Tensor]:
    """Return the joint extremes of several batches as magnitudes, since a record contains only these."""
    if len(batches) == 1:
        return batches[0]
    if all(len(extremes) == 4 for extremes in batches):
        return [torch.stack(extremes).abs().max() for extremes in zip(*batches, strict=True)]
    return _total([found for batch in batches for found in batch])


def largest_of_batches(numbers: Floats, has_extremes: Booleans) -> Floats:
    """Return the largest magnitude of inputs and of targets, ``[2, steps]``; infinite if an element is not finite.

    Args:
        numbers: the result of :func:`batch_extremes` for each step, padded with zeros, ``[steps, 4]``.
        has_extremes: whether a step has four extremes, ``[steps]``; if not, its first number is finite only if all
            elements are.
    """
    largest = np.abs(numbers).reshape(len(numbers), 2, 2).max(axis=2).T
    unknown = np.stack([np.where(np.isfinite(numbers[:, 0]), np.nan, np.inf), np.full(len(numbers), np.nan)])
    return np.where(has_extremes, np.where(np.isnan(largest), np.inf, largest), unknown)


def returned_loss(outputs: Any) -> Tensor | None:
    """Return the detached loss from the output of a LightningModule's step; None if there is none."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    return loss.detach() if isinstance(loss, Tensor) else None


def batch_loss(loss: Tensor | float) -> Tensor:
    """Return the detached mean of a loss in new memory, since a CUDA graph writes the next loss where this one is.

    Example:
        >>> batch_loss(torch.tensor([1.0, 2.0], requires_grad=True))
        tensor(1.5000)
    """
    return torch.as_tensor(loss).detach().float().mean()


def mean_loss(losses: Sequence[Tensor], accumulated: int) -> Tensor | None:
    """Return the mean loss of a step's batches; None if no batch has a loss.

    Args:
        losses: the loss of each batch, which Lightning has divided by ``accumulated``.
        accumulated: number of batches in a step; the last step of an epoch may have fewer.
    """
    if not losses:
        return None
    total = sum(losses[1:], losses[0])
    return total if len(losses) == accumulated else total * accumulated / len(losses)


def _total(scalars: Sequence[Tensor]) -> list[Tensor]:
    return [sum(scalars[1:], scalars[0])] if scalars else []


def _real_parts(batch: Any) -> Iterator[Tensor]:
    """Yield the nonempty floating-point tensors of a batch, from nested lists, tuples and dictionaries."""
    if isinstance(batch, list | tuple | Mapping):
        for part in batch.values() if isinstance(batch, Mapping) else batch:
            yield from _real_parts(part)
    elif _is_real(batch):
        yield batch


def _is_real(part: Any) -> bool:
    """Return whether this is a floating-point tensor with extremes; torch computes none for 8-bit types."""
    if not (isinstance(part, Tensor) and part.is_floating_point() and part.numel()):
        return False
    return part.layout == torch.strided and part.dtype.itemsize > 1
