"""Recurrent networks: a torch layer over time, and a linear read-out."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

CONNECTIONS = 15  # of each unit to the next step, under smart_tanh
SPECTRAL_RADIUS = 0.95


class Recurrent(nn.Module):
    """A recurrent layer, read out linearly at the last time step or at every one.

    Args:
        recurrent: an ``nn.RNN``, ``nn.LSTM`` or ``nn.GRU`` with ``batch_first``.
        out_features: number of outputs.
        every_step: whether to read out at every time step.
        truncation: time steps after which the state is passed on without its history, so that gradients reach no
            further back; None lets them reach the first step.

    Shape:
        input ``[sequences, steps, inputs]``, output ``[sequences, out_features]``, or
        ``[sequences, steps, out_features]`` where every step is read out.
    """

    def __init__(self, recurrent: nn.RNNBase, out_features: int, every_step: bool, truncation: int | None) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.output = nn.Linear(recurrent.hidden_size, out_features)
        self.every_step, self.truncation = every_step, truncation

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs."""
        states = self.recurrent(inputs)[0] if self.truncation is None else self._run_truncated(inputs, self.truncation)
        return self.output(states if self.every_step else states[:, -1])  # type: ignore[no-any-return]

    def _run_truncated(self, inputs: Tensor, steps: int) -> Tensor:
        windows, state = [], None
        for window in torch.split(inputs, steps, dim=1):
            states, state = self.recurrent(window, state)
            state = tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()
            windows.append(states)
        return torch.cat(windows, dim=1)


class RNN(Recurrent):
    """A simple recurrent network (Elman's).

    Args:
        in_features: numbers at each time step.
        out_features: number of outputs.
        hidden_size: units of each layer.
        layers: recurrent layers, one above the other.
        dropout: share of a layer's states left out on the way to the next layer.
        nonlinearity: ``tanh`` or ``relu``.
        initialization: a key of ``INITIALIZATIONS``, or ``pytorch``, which leaves torch's own draw.
        identity_scale: diagonal of the recurrent weights under ``identity``.
        weight_deviation: standard deviation of normally drawn weights; None is the initialization's own.
        every_step: whether to read out at every time step.
        truncation: time steps that gradients reach back at most; None for all.

    Example:
        >>> RNN(6, 4, initialization="basic_tanh")(torch.zeros(3, 20, 6)).shape
        torch.Size([3, 4])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int = 1,
        hidden_size: int = 50,
        layers: int = 1,
        dropout: float = 0.0,
        nonlinearity: str = "tanh",
        initialization: str = "basic_tanh",
        identity_scale: float = 1.0,
        weight_deviation: float | None = None,
        every_step: bool = False,
        truncation: int | None = None,
    ) -> None:
        sizes = {"num_layers": layers, "dropout": dropout, "batch_first": True}
        layer: Any = nn.RNN(in_features, hidden_size, nonlinearity=nonlinearity, **sizes)
        super().__init__(layer, out_features, every_step, truncation)
        if initialization != "pytorch":
            deviation = {} if weight_deviation is None else {"deviation": weight_deviation}
            scale = {"scale": identity_scale} if initialization == "identity" else {}
            INITIALIZATIONS[initialization](self, **deviation, **scale)


class LSTM(Recurrent):
    """A network of long short-term memory cells (Hochreiter & Schmidhuber 1997), as torch has and draws them.

    Args:
        in_features: numbers at each time step.
        out_features: number of outputs.
        hidden_size: units of each layer.
        layers: recurrent layers, one above the other.
        dropout: share of a layer's states left out on the way to the next layer.
        every_step: whether to read out at every time step.
        truncation: time steps that gradients reach back at most; None for all.

    Example:
        >>> LSTM(2, 1, every_step=True)(torch.zeros(3, 20, 2)).shape
        torch.Size([3, 20, 1])
    """

    cell: type[nn.RNNBase] = nn.LSTM

    def __init__(
        self,
        in_features: int,
        out_features: int = 1,
        hidden_size: int = 50,
        layers: int = 1,
        dropout: float = 0.0,
        every_step: bool = False,
        truncation: int | None = None,
    ) -> None:
        sizes = {"num_layers": layers, "dropout": dropout, "batch_first": True}
        layer: Any = self.cell(in_features, hidden_size, **sizes)  # type: ignore[arg-type]
        super().__init__(layer, out_features, every_step, truncation)


class GRU(LSTM):
    """A network of gated recurrent units (Cho et al. 2014), as torch has and draws them; arguments as of LSTM."""

    cell = nn.GRU


def sigmoid(network: Recurrent, deviation: float = 0.01) -> None:
    """All weights from N(0, 0.01²), biases zero: the draw of Pascanu et al. 2013 for their sigmoid units."""
    _draw(network, deviation)


def basic_tanh(network: Recurrent, deviation: float = 0.1) -> None:
    """All weights from N(0, 0.1²), biases zero (Pascanu et al. 2013)."""
    _draw(network, deviation)


@torch.no_grad()
def smart_tanh(network: Recurrent, deviation: float = 0.01) -> None:
    """All weights from N(0, 0.01²), biases zero; recurrent ones sparse, of spectral radius 0.95.

    Each unit keeps 15 connections (Pascanu et al. 2013, after Sutskever et al. 2011).
    """
    _draw(network, deviation)
    for weight in _recurrent_weights(network):
        rows = torch.rand_like(weight).argsort(dim=1)
        weight[rows >= CONNECTIONS] = 0
        weight.mul_(SPECTRAL_RADIUS / torch.linalg.eigvals(weight).abs().max())


def identity(network: Recurrent, deviation: float = 0.001, scale: float = 1.0) -> None:
    """Recurrent weights ``scale`` times the identity, others from N(0, 0.001²), biases zero (Le et al. 2015, IRNN)."""
    _draw(network, deviation)
    for weight in _recurrent_weights(network):
        nn.init.eye_(weight)
        weight.data *= scale


INITIALIZATIONS: dict[str, Callable[..., None]] = {
    "sigmoid": sigmoid,
    "basic_tanh": basic_tanh,
    "smart_tanh": smart_tanh,
    "identity": identity,
}


def _draw(network: Recurrent, deviation: float) -> None:
    for name, parameter in network.named_parameters():
        if "weight" in name:
            nn.init.normal_(parameter, std=deviation)
        else:
            nn.init.zeros_(parameter)


def _recurrent_weights(network: Recurrent) -> list[nn.Parameter]:
    return [p for name, p in network.recurrent.named_parameters() if name.startswith("weight_hh")]
