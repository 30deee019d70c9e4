"""Extremes, non-finite counts and inner products of lists of tensors, cheap enough for every optimizer step."""

from collections.abc import Sequence

import torch
from torch import Tensor


def extremes(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the minimum and the maximum of each tensor: a flat list of scalars, two for each tensor.

    NaN propagates: the extremes of a tensor that contains NaN are NaN.

    Example:
        >>> extremes([torch.tensor([1.0, -3.0])])
        [tensor(-3.), tensor(1.)]
    """
    return [extreme for tensor in tensors for extreme in tensor.aminmax()]


def nonfinite_counts(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the number of NaN or infinite elements of each tensor, a list of integer scalars.

    Example:
        >>> nonfinite_counts([torch.tensor([1.0, torch.nan, -torch.inf])])
        [tensor(2)]
    """
    if tensors[0].device.type != "cpu":
        return [torch.count_nonzero(~tensor.isfinite()) for tensor in tensors]
    zero = torch.zeros((), dtype=torch.int64)  # on a CPU a look at the sum is free of waiting and saves most counts
    return [zero if tensor.sum().isfinite() else torch.count_nonzero(~tensor.isfinite()) for tensor in tensors]


def inner_product(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Return the inner product of two lists of tensors, each list read as one vector; a scalar.

    It is computed in float64, in which products of float32 numbers cannot overflow (in float32 on Apple's GPUs).

    Example:
        >>> inner_product([torch.tensor([1.0, 2.0])], [torch.tensor([3.0, 4.0])])
        tensor(11., dtype=torch.float64)
    """
    wide = torch.float32 if tensors[0].is_mps else torch.float64  # Apple's GPUs have no float64
    pairs = zip(tensors, others, strict=True)
    return torch.stack(
        [torch.dot(tensor.flatten().to(wide), other.flatten().to(wide)) for tensor, other in pairs]
    ).sum()
