"""Norms and extremes of many tensors with few calls, for telemetry at every step.

:mod:`gradclip.norms` does the same by operations that ``torch.vmap`` can stack; these are several times faster and it
cannot stack them. Norms are float64, in which the squares of float32 elements neither overflow nor vanish.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from gradclip.norms import LARGE, tensor_norms

VANISHING = 1e-12  # of smaller float32 norms some squares were lost


def norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the L2 norm of each tensor, a list of scalars.

    Example:
        >>> norms([torch.tensor([3e20, 4e20])])
        [tensor(5.0000e+20, dtype=torch.float64)]
    """
    if tensors[0].device.type == "cpu" and max(tensor.numel() for tensor in tensors) >= LARGE:
        return [_norm_on_processor(tensor) for tensor in tensors]
    wide = torch.float32 if tensors[0].device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    return list(torch._foreach_norm(list(tensors), 2, dtype=wide))


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
        return [_count_on_processor(tensor) for tensor in tensors]
    return [torch.count_nonzero(~tensor.isfinite()) for tensor in tensors]


def change_norms(tensors: Sequence[Tensor], before: Sequence[Tensor]) -> list[Tensor]:
    """Return the L2 norm of how much each tensor changed, a list of scalars.

    Example:
        >>> change_norms([torch.tensor([3.0, 4.0])], [torch.zeros(2)])
        [tensor(5., dtype=torch.float64)]
    """
    return norms(torch._foreach_sub(list(tensors), list(before)))


def inner_product(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Return the sum of all products of elements, a scalar.

    Example:
        >>> inner_product([torch.tensor([1.0, 2.0])], [torch.tensor([3.0, 4.0])])
        tensor(11.)
    """
    pairs = zip(tensors, others, strict=True)
    return torch.stack([torch.dot(tensor.flatten(), other.flatten()) for tensor, other in pairs]).sum()


# On a processor nothing waits for a number to be looked at, so that care is taken only where it is needed.


def _norm_on_processor(tensor: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(tensor)
    return norm.double() if VANISHING < norm < torch.inf else tensor_norms([tensor])[0]


def _count_on_processor(tensor: Tensor) -> Tensor:
    return torch.zeros((), dtype=torch.int64) if tensor.sum().isfinite() else torch.count_nonzero(~tensor.isfinite())
