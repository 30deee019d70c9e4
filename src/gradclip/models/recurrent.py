"""Recurrent networks: torch's recurrent layers with a linear output layer."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from gradclip.errors import ModelError, check_choice

CONNECTIONS = 15  # nonzero recurrent weights of each unit under smart_tanh
SPECTRAL_RADIUS = 0.95  # spectral radius of the recurrent weights under smart_tanh


class Recurrent(nn.Module):
    """A recurrent layer with a linear output at the last time step, or at every one.

    Args:
        recurrent: an ``nn.RNN``, ``nn.LSTM`` or ``nn.GRU`` with ``batch_first``.
        out_features: number of outputs.
        every_step: whether there is an output at every time step.
        truncation: window length of truncated backpropagation, in time steps: the state is detached between windows;
            None backpropagates through all time steps.

    Shape:
        input ``[sequences, steps, inputs]``, output ``[sequences, out_features]``, or
        ``[sequences, steps, out_features]`` with ``every_step``.
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
    """A simple recurrent (Elman) network.

    Args:
        in_features: inputs at each time step.
        out_features: number of outputs.
        hidden_size: units of each layer.
        layers: number of stacked recurrent layers.
        dropout: probability of dropout between the layers.
        nonlinearity: ``tanh`` or ``relu``.
        initialization: a key of ``INITIALIZATIONS``, or ``pytorch``, which keeps torch's initial weights.
        identity_scale: diagonal of the recurrent weights under ``identity``.
        weight_deviation: standard deviation of normally distributed weights; by default that of the initialization.
        every_step: whether there is an output at every time step.
        truncation: window length of truncated backpropagation, in time steps; None does not truncate.

    Raises:
        ModelError: the initialization is unknown.

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
        check_choice("initialization", initialization, ("pytorch", *INITIALIZATIONS), ModelError)
        layer = nn.RNN(in_features, hidden_size, layers, nonlinearity, dropout=dropout, batch_first=True)
        super().__init__(layer, out_features, every_step, truncation)
        if initialization != "pytorch":
            deviation = {} if weight_deviation is None else {"deviation": weight_deviation}
            scale = {"scale": identity_scale} if initialization == "identity" else {}
            INITIALIZATIONS[initialization](self, **deviation, **scale)


class LSTM(Recurrent):
    """A long short-term memory network (Hochreiter & Schmidhuber 1997), with torch's initialization.

    Args:
        in_features: inputs at each time step.
        out_features: number of outputs.
        hidden_size: units of each layer.
        layers: number of stacked recurrent layers.
        dropout: probability of dropout between the layers.
        every_step: whether there is an output at every time step.
        truncation: window length of truncated backpropagation, in time steps; None does not truncate.

    Example:
        >>> LSTM(2, 1, every_step=True)(torch.zeros(3, 20, 2)).shape
        torch.Size([3, 20, 1])
    """

    cell: type[nn.LSTM | nn.GRU] = nn.LSTM

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
        layer = self.cell(in_features, hidden_size, layers, dropout=dropout, batch_first=True)
        super().__init__(layer, out_features, every_step, truncation)


class GRU(LSTM):
    """A network of gated recurrent units (Cho et al. 2014), with torch's initialization and the arguments of LSTM."""

    cell = nn.GRU


def normal(network: Recurrent, deviation: float) -> None:
    """Draw all weights from N(0, deviation²) and set biases to zero."""
    for name, parameter in network.named_parameters():
        if "weight" in name:
            nn.init.normal_(parameter, std=deviation)
        else:
            nn.init.zeros_(parameter)


@torch.no_grad()
def smart_tanh(network: Recurrent, deviation: float = 0.01) -> None:
    """Draw weights as :func:`normal`, then make recurrent weights sparse with spectral radius 0.95.

    Each unit keeps 15 nonzero recurrent weights.

    Source: Pascanu et al. 2013, after Sutskever et al. 2011.
    """
    normal(network, deviation)
    for weight in _recurrent_weights(network):
        ranks = torch.rand_like(weight).argsort(dim=1)
        weight[ranks >= CONNECTIONS] = 0
        weight.mul_(SPECTRAL_RADIUS / torch.linalg.eigvals(weight).abs().max())


def identity(network: Recurrent, deviation: float = 0.001, scale: float = 1.0) -> None:
    """Draw weights as :func:`normal`, then set recurrent weights to ``scale`` times the identity (IRNN).

    Source: Le et al. 2015, "A simple way to initialize recurrent networks of rectified linear units".

    Args:
        network: the network.
        deviation: standard deviation of input and output weights.
        scale: diagonal of the recurrent weights.
    """
    normal(network, deviation)
    for weight in _recurrent_weights(network):
        nn.init.eye_(weight)
        weight.data *= scale


INITIALIZATIONS: dict[str, Callable[..., None]] = {
    "sigmoid": partial(normal, deviation=0.01),  # for sigmoid units (Pascanu et al. 2013)
    "basic_tanh": partial(normal, deviation=0.1),  # for tanh units (Pascanu et al. 2013)
    "smart_tanh": smart_tanh,
    "identity": identity,
}


def _recurrent_weights(network: Recurrent) -> list[nn.Parameter]:
    return [p for name, p in network.recurrent.named_parameters() if name.startswith("weight_hh")]
