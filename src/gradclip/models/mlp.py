"""A multilayer perceptron."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


def _lecun_normal(weight: Tensor) -> Tensor:
    return nn.init.normal_(weight, std=weight.shape[1] ** -0.5)


def _he_uniform(weight: Tensor) -> Tensor:
    return nn.init.kaiming_uniform_(weight, nonlinearity="relu")


def _he_normal(weight: Tensor) -> Tensor:
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")


INITIALIZATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "he_uniform": _he_uniform,
    "he_normal": _he_normal,
    "glorot_uniform": nn.init.xavier_uniform_,
    "glorot_normal": nn.init.xavier_normal_,
    "lecun_normal": _lecun_normal,
}


class MLP(nn.Sequential):
    """Linear layers with an activation after each but the last.

    Biases start at zero, as in Keras, unless an initialization is ``pytorch``, which leaves torch's own draw.

    Args:
        in_features: number of inputs.
        out_features: number of outputs.
        widths: units of each hidden layer.
        activation: name of the activation, a key of ``ACTIVATIONS``.
        initialization: how the weights of the hidden layers are drawn, a key of ``INITIALIZATIONS`` or ``pytorch``.
        output_initialization: the same for the output layer.

    Shape:
        input ``[rows, in_features]``, output ``[rows, out_features]``.

    Example:
        >>> MLP(20, 1, widths=[25])(torch.zeros(4, 20)).shape
        torch.Size([4, 1])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int = 1,
        widths: Sequence[int] = (25,),
        activation: str = "relu",
        initialization: str = "he_uniform",
        output_initialization: str = "glorot_uniform",
    ) -> None:
        sizes = [in_features, *widths, out_features]
        linears = [nn.Linear(ins, outs) for ins, outs in pairwise(sizes)]
        for linear in linears[:-1]:
            _initialize(linear, initialization)
        _initialize(linears[-1], output_initialization)
        hidden = [layer for linear in linears[:-1] for layer in (linear, ACTIVATIONS[activation]())]
        super().__init__(*hidden, linears[-1])


@torch.no_grad()
def _initialize(linear: nn.Linear, initialization: str) -> None:
    if initialization == "pytorch":
        return
    INITIALIZATIONS[initialization](linear.weight)
    nn.init.zeros_(linear.bias)
