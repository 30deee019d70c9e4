"""Entries of a clipper's state, one for each tensor, and the running averages of the Stable-SPAM methods.

An average is an exponential moving average with the bias correction of Adam: m̂_t = m_t/(1 − β^t) with
m_t = β·m_{t−1} + (1 − β)·x_t. The code updates m̂_t directly: it moves the fraction (1 − β)/(1 − β^t) of the way to each
new number, so a constant input leaves it bitwise unchanged.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from gradclip.clipping.base import Gradients, State, device_of


def init_averages(parameters: Gradients, *kinds: str) -> dict[str, Tensor]:
    """Return averages of zero, one per kind and parameter, and a count of zero per parameter."""
    device = device_of(parameters)
    zero = torch.zeros((), dtype=torch.float64, device=device)
    averages = {f"{kind}.{name}": zero for kind in kinds for name in parameters}
    return averages | {f"seen.{name}": torch.zeros((), dtype=torch.int64, device=device) for name in parameters}


def stack_entries(state: State, kind: str, names: Iterable[str]) -> Tensor:
    """Return the entries of one kind in a state, one for each name, ``[names]``.

    Args:
        state: the clipper's state.
        kind: the kind of entry, such as ``seen``.
        names: names of the gradients.

    Example:
        >>> state = {"seen.bias": torch.tensor(3), "seen.weight": torch.tensor(4)}
        >>> stack_entries(state, "seen", ["weight", "bias"])
        tensor([4, 3])
    """
    return torch.stack([state[f"{kind}.{name}"] for name in names])


def split_entries(kind: str, names: Iterable[str], values: Tensor) -> dict[str, Tensor]:
    """Return values under their keys in a state; the inverse of :func:`stack_entries`.

    Args:
        kind: the kind of entry.
        names: names of the gradients.
        values: the entries, one for each name, ``[names]``.
    """
    return {f"{kind}.{name}": value for name, value in zip(names, values.unbind(), strict=True)}


def weight_of_newest(beta: float | Tensor, seen: Tensor) -> Tensor:
    """Return the weight of the newest number in a bias-corrected average, ``[names]``.

    Args:
        beta: fraction of the old average kept at each step, before the correction.
        seen: count of numbers so far, including the newest, ``[names]``.

    Example:
        >>> weight_of_newest(0.5, torch.tensor([1, 2]))
        tensor([1.0000, 0.6667], dtype=torch.float64)
    """
    return (1 - beta) / (1 - beta ** seen.double())
