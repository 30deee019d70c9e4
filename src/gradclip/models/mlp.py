"""The multilayer perceptron."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from gradclip.errors import ModelError, check_choice

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}
INITIALIZATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "he_uniform": partial(nn.init.kaiming_uniform_, nonlinearity="relu"),
    "he_normal": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "glorot_uniform": nn.init.xavier_uniform_,
    "glorot_normal": nn.init.xavier_normal_,
    "lecun_normal": lambda weight: nn.init.normal_(weight, std=weight.shape[1] ** -0.5),
}


class MLP(nn.Sequential):
    """Linear layers with an activation after each one except the last.

    Biases start at zero, as in Keras. The initialization ``pytorch`` keeps torch's initial weights and biases.

    Args:
        in_features: number of inputs.
        out_features: number of outputs.
        widths: units of each hidden layer.
        activation: a key of ``ACTIVATIONS``.
        initialization: initialization of the hidden weights, a key of ``INITIALIZATIONS`` or ``pytorch``.
        output_initialization: initialization of the output weights, with the same choices.

    Raises:
        ModelError: the activation or an initialization is unknown.

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
        check_choice("activation", activation, ACTIVATIONS, ModelError)
        check_choice("initialization", initialization, ("pytorch", *INITIALIZATIONS), ModelError)
        check_choice("output_initialization", output_initialization, ("pytorch", *INITIALIZATIONS), ModelError)
        sizes = [in_features, *widths, out_features]
        linears = [nn.Linear(ins, outs) for ins, outs in pairwise(sizes)]
        for linear in linears[:-1]:
            _initialize(linear, initialization)
        _initialize(linears[-1], output_initialization)
        hidden = [layer for linear in linears[:-1] for layer in (linear, ACTIVATIONS[activation]())]
        super().__init__(*hidden, linears[-1])


@torch.no_grad()
def _initialize(linear: nn.Linear, initialization: str) -> None:
    if initialization != "pytorch":
        INITIALIZATIONS[initialization](linear.weight)
        nn.init.zeros_(linear.bias)
