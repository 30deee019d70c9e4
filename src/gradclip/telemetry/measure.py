"""Norms and extremes of many tensors with few calls, for telemetry at every step.

:mod:`gradclip.norms` does the same by operations that ``torch.vmap`` can stack; these are several times faster and it
cannot stack them. The squares are summed in float64, where those of float32 elements cannot overflow.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the L2 norm of each tensor, a list of scalars.

    Example:
        >>> norms([torch.tensor([3e20, 4e20])])
        [tensor(5.0000e+20, dtype=torch.float64)]
    """
    wide = torch.float32 if tensors[0].device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    return list(torch._foreach_norm(list(tensors), 2, dtype=wide))


def extremes(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the least and the greatest element of each tensor, a list of twice as many scalars; NaN wins.

    Example:
        >>> extremes([torch.tensor([1.0, -3.0])])
        [tensor(-3.), tensor(1.)]
    """
    return [end for tensor in tensors for end in tensor.aminmax()]
