"""Recurrent layers unrolled over time, with a hook on every hidden state.

torch runs a recurrent layer over all time steps in one call, which returns only the states of its last layer and allows
no hooks in between. Here the same steps run one by one.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradclip.errors import ModelError

Hook = Callable[[int, int, Tensor], object]  # called with layer, time step and hidden state; may return another state
State = tuple[Tensor, Tensor]  # hidden state and, for an LSTM, cell state; both [sequences, hidden]


class Unrolling:
    """Call a hook with each hidden state of a recurrent layer, in every forward pass until :meth:`remove`.

    The layer's outputs do not change: for an ``nn.RNN`` bitwise, for other layers up to rounding. A layer can have
    several hooks; the latest is called first.

    Args:
        recurrent: an ``nn.RNN``, ``nn.LSTM`` or ``nn.GRU`` that runs in one direction.
        hook: called with layer number, time step and hidden state ``[sequences, hidden]``, in time order; if it returns
            a tensor, that replaces the state.

    Raises:
        ModelError: the layer is bidirectional or has projections; in a forward pass, if the sequences are packed or
            not batched.

    Example:
        >>> recurrent, norms = nn.RNN(2, 3, batch_first=True), []
        >>> unrolling = Unrolling(recurrent, lambda layer, step, hidden: norms.append(hidden.norm()))
        >>> outputs, _ = recurrent(torch.zeros(4, 5, 2))
        >>> unrolling.remove()
        >>> len(norms), outputs.shape
        (5, torch.Size([4, 5, 3]))
    """

    def __init__(self, recurrent: nn.RNNBase, hook: Hook) -> None:
        if not can_unroll(recurrent):
            what = "is bidirectional" if recurrent.bidirectional else "has projections"
            raise ModelError(f"model: got a recurrent layer that {what}; its hidden states cannot have hooks")
        self.recurrent, self.hook = recurrent, hook
        hooks = _hooks(recurrent)
        hooks.insert(0, hook)  # a monitor, added later, must see derivatives before a clipping hook changes them
        recurrent.forward = partial(_forward, recurrent, hooks)

    def remove(self) -> None:
        """Remove the hook; the layer runs torch's own forward pass again after the last hook is removed."""
        hooks = _hooks(self.recurrent)
        hooks.remove(self.hook)
        if not hooks:
            del self.recurrent.forward


def can_unroll(recurrent: nn.RNNBase) -> bool:
    """Return whether a layer runs in one direction and has no projections."""
    return not (recurrent.bidirectional or recurrent.proj_size)


def _hooks(recurrent: nn.RNNBase) -> list[Hook]:
    """Return the hooks of a layer, a list that its forward pass shares."""
    forward = recurrent.__dict__.get("forward")
    hooks: list[Hook] = forward.args[1] if isinstance(forward, partial) else []
    return hooks


def _forward(
    recurrent: nn.RNNBase, hooks: list[Hook], input: Tensor, hx: Any = None
) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
    """Run all layers over all time steps; replaces ``recurrent.forward``, whose arguments have these names."""
    if not isinstance(input, Tensor) or input.dim() != 3:
        raise ModelError("model: got packed or single sequences; hooks on hidden states need batches of equal length")
    layer_inputs = input.transpose(0, 1) if recurrent.batch_first else input
    last: list[State] = []
    for layer in range(recurrent.num_layers):
        if layer:
            layer_inputs = F.dropout(layer_inputs, recurrent.dropout, recurrent.training)
        start = _initial_state(recurrent, layer_inputs, hx, layer)
        layer_inputs, end = _run_layer(recurrent, layer, layer_inputs, start, hooks)
        last.append(end)
    outputs = layer_inputs.transpose(0, 1) if recurrent.batch_first else layer_inputs
    hidden, cell = (torch.stack(parts) for parts in zip(*last, strict=True))
    return outputs, (hidden, cell) if recurrent.mode == "LSTM" else hidden


def _initial_state(recurrent: nn.RNNBase, inputs: Tensor, state: Any, layer: int) -> State:
    if state is None:
        zeros = inputs.new_zeros(inputs.shape[1], recurrent.hidden_size)
        return zeros, zeros
    hidden, cell = state if recurrent.mode == "LSTM" else (state, state)
    return hidden[layer], cell[layer]


def _run_layer(
    recurrent: nn.RNNBase, layer: int, inputs: Tensor, state: State, hooks: list[Hook]
) -> tuple[Tensor, State]:
    """Return the hidden states of one layer, ``[steps, sequences, hidden]``, and its last state."""
    weights = [getattr(recurrent, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh")]
    biases = [getattr(recurrent, f"{name}_l{layer}") if recurrent.bias else None for name in ("bias_ih", "bias_hh")]
    cell, states = CELLS[recurrent.mode], []
    for step, from_input in enumerate(F.linear(inputs, weights[0], biases[0]).unbind()):
        state = cell(from_input, F.linear(state[0], weights[1], biases[1]), state)
        for hook in hooks:
            replaced = hook(layer, step, state[0])
            state = (replaced, state[1]) if isinstance(replaced, Tensor) else state
        states.append(state[0])
    return torch.stack(states), state


def _simple_cell(from_input: Tensor, from_hidden: Tensor, _: State, activation: Callable[[Tensor], Tensor]) -> State:
    hidden = activation(from_hidden + from_input)
    return hidden, hidden


def _lstm_cell(from_input: Tensor, from_hidden: Tensor, state: State) -> State:
    input_gate, forget_gate, candidate, output_gate = (from_hidden + from_input).chunk(4, dim=1)
    cell = forget_gate.sigmoid() * state[1] + input_gate.sigmoid() * candidate.tanh()
    return output_gate.sigmoid() * cell.tanh(), cell


def _gru_cell(from_input: Tensor, from_hidden: Tensor, state: State) -> State:
    reset, update, candidate = from_input.chunk(3, dim=1)
    reset_h, update_h, candidate_h = from_hidden.chunk(3, dim=1)
    new = torch.tanh(candidate + (reset_h + reset).sigmoid() * candidate_h)
    hidden = (state[0] - new) * (update_h + update).sigmoid() + new
    return hidden, hidden


CELLS: dict[str, Callable[[Tensor, Tensor, State], State]] = {
    "RNN_TANH": partial(_simple_cell, activation=torch.tanh),
    "RNN_RELU": partial(_simple_cell, activation=torch.relu),
    "LSTM": _lstm_cell,
    "GRU": _gru_cell,
}
