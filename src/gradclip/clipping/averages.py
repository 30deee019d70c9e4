"""Running averages of one number for each tensor, as the methods of Stable-SPAM remember them.

Each is an exponential moving average that is corrected for its start, as in Adam: m̂_t = m_t/(1 − β^t) with
m_t = β·m_{t−1} + (1 − β)·x_t. Written with the corrected average alone, it moves by the share (1 − β)/(1 − β^t) toward
each number, so that numbers that stay the same leave it the same to the bit.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from gradclip.clipping.base import Gradients, State, device_of


def init_averages(parameters: Gradients, *kinds: str) -> dict[str, Tensor]:
    """Return averages of no numbers, some kinds of them for each parameter, and how many numbers each had: none."""
    device = device_of(parameters)
    zero = torch.zeros((), dtype=torch.float64, device=device)
    averages = {f"{kind}.{name}": zero for kind in kinds for name in parameters}
    return averages | {f"seen.{name}": torch.zeros((), dtype=torch.int64, device=device) for name in parameters}


def read(state: State, kind: str, names: Iterable[str]) -> Tensor:
    """Return what a state has of a kind for each name, ``[names]``.

    Args:
        state: of a clipper.
        kind: what the numbers are, such as ``seen``.
        names: of the gradients.

    Example:
        >>> state = {"seen.bias": torch.tensor(3), "seen.weight": torch.tensor(4)}
        >>> read(state, "seen", ["weight", "bias"])
        tensor([4, 3])
    """
    return torch.stack([state[f"{kind}.{name}"] for name in names])


def named(kind: str, names: Iterable[str], values: Tensor) -> dict[str, Tensor]:
    """Return values as a state has them: the inverse of :func:`read`.

    Args:
        kind: what the numbers are.
        names: of the gradients.
        values: one for each name, ``[names]``.
    """
    return {f"{kind}.{name}": value for name, value in zip(names, values.unbind(), strict=True)}


def weight_of_newest(beta: float | Tensor, seen: Tensor) -> Tensor:
    """Return the weight of the newest number in a corrected average, ``[names]``.

    Args:
        beta: share of the old average kept at each step, before the correction.
        seen: how many numbers there have been, the newest included, ``[names]``.

    Example:
        >>> weight_of_newest(0.5, torch.tensor([1, 2]))
        tensor([1.0000, 0.6667], dtype=torch.float64)
    """
    return (1 - beta) / (1 - beta ** seen.double())
