"""Extremes, counts and products of many tensors with few calls, for telemetry at every step."""

from collections.abc import Sequence

import torch
from torch import Tensor


def extremes(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the least and the greatest element of each tensor, a list of twice as many scalars; NaN wins.

    Example:
        >>> extremes([torch.tensor([1.0, -3.0])])
        [tensor(-3.), tensor(1.)]
    """
    return [end for tensor in tensors for end in tensor.aminmax()]


def nonfinite_counts(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return how many elements of each tensor are NaN or infinite, a list of integer scalars.

    Example:
        >>> nonfinite_counts([torch.tensor([1.0, torch.nan, -torch.inf])])
        [tensor(2)]
    """
    if tensors[0].device.type == "cpu":
        return [_count_on_cpu(tensor) for tensor in tensors]
    return [torch.count_nonzero(~tensor.isfinite()) for tensor in tensors]


def inner_product(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Return the sum of all products of elements, a scalar in float64, which products of float32 cannot overflow.

    Example:
        >>> inner_product([torch.tensor([1.0, 2.0])], [torch.tensor([3.0, 4.0])])
        tensor(11., dtype=torch.float64)
    """
    wide = torch.float32 if tensors[0].is_mps else torch.float64  # Apple's GPUs have no float64
    pairs = zip(tensors, others, strict=True)
    return torch.stack(
        [torch.dot(tensor.flatten().to(wide), other.flatten().to(wide)) for tensor, other in pairs]
    ).sum()


def _count_on_cpu(tensor: Tensor) -> Tensor:
    """On a processor nothing waits for a number to be looked at, so that elements are counted only where needed."""
    return torch.zeros((), dtype=torch.int64) if tensor.sum().isfinite() else torch.count_nonzero(~tensor.isfinite())
