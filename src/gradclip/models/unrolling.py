"""Visit every hidden state of torch's recurrent layers.

torch runs a recurrent layer over all time steps in one call, which shows the states of its last layer and lets none of
them be reached on the way. Here the same steps are taken one by one.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradclip.errors import ModelError

Visit = Callable[[int, int, Tensor], object]  # layer, time step, hidden state [sequences, hidden]; may return another
State = tuple[Tensor, Tensor]  # hidden state and, of an LSTM, its cell


class Unrolling:
    """Have each hidden state visited whenever a recurrent layer runs, until :meth:`remove`.

    The layer computes what it always does: an ``nn.RNN`` to the last bit, the others up to rounding. Several visitors
    may be at work on one layer, the latest coming first.

    Args:
        recurrent: an ``nn.RNN``, ``nn.LSTM`` or ``nn.GRU``, over sequences in one direction.
        visit: called with layer, time step and hidden state ``[sequences, hidden]``, in order of time; a tensor that it
            returns takes the state's place.

    Raises:
        ModelError: the layer is bidirectional or projects its states; on running, if sequences come packed or alone.

    Example:
        >>> recurrent, norms = nn.RNN(2, 3, batch_first=True), []
        >>> unrolling = Unrolling(recurrent, lambda layer, step, hidden: norms.append(hidden.norm()))
        >>> outputs, _ = recurrent(torch.zeros(4, 5, 2))
        >>> unrolling.remove()
        >>> len(norms), outputs.shape
        (5, torch.Size([4, 5, 3]))
    """

    def __init__(self, recurrent: nn.RNNBase, visit: Visit) -> None:
        if not can_unroll(recurrent):
            what = "bidirectional" if recurrent.bidirectional else "with projections"
            raise ModelError(f"model: got a recurrent layer {what}; its states can be visited in one direction only")
        self.recurrent, self.visit = recurrent, visit
        visits = _visits(recurrent)
        visits.insert(0, visit)  # who comes for a while sees derivatives before who stays and clips them
        recurrent.forward = partial(_run, recurrent, visits)

    def remove(self) -> None:
        """Let the layer run as before."""
        visits = _visits(self.recurrent)
        visits.remove(self.visit)
        if not visits:
            del self.recurrent.forward


def can_unroll(recurrent: nn.RNNBase) -> bool:
    """Whether a layer runs in one direction and passes its states on as they are."""
    return not (recurrent.bidirectional or recurrent.proj_size)


def _visits(recurrent: nn.RNNBase) -> list[Visit]:
    forward = recurrent.__dict__.get("forward")
    visits: list[Visit] = forward.args[1] if isinstance(forward, partial) else []
    return visits


def _run(
    recurrent: nn.RNNBase, visits: list[Visit], inputs: Tensor, state: Any = None
) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
    """What ``recurrent.forward`` does."""
    if not isinstance(inputs, Tensor) or inputs.dim() != 3:
        raise ModelError("model: got packed or single sequences; states can be visited in batches of equal length only")
    layer_inputs = inputs.transpose(0, 1) if recurrent.batch_first else inputs
    last: list[State] = []
    for layer in range(recurrent.num_layers):
        if layer:
            layer_inputs = F.dropout(layer_inputs, recurrent.dropout, recurrent.training)
        start = _start(recurrent, layer_inputs, state, layer)
        layer_inputs, end = _run_layer(recurrent, layer, layer_inputs, start, visits)
        last.append(end)
    outputs = layer_inputs.transpose(0, 1) if recurrent.batch_first else layer_inputs
    hidden, cell = (torch.stack(parts) for parts in zip(*last, strict=True))
    return outputs, (hidden, cell) if recurrent.mode == "LSTM" else hidden


def _start(recurrent: nn.RNNBase, inputs: Tensor, state: Any, layer: int) -> State:
    if state is None:
        zeros = inputs.new_zeros(inputs.shape[1], recurrent.hidden_size)
        return zeros, zeros
    hidden, cell = state if recurrent.mode == "LSTM" else (state, state)
    return hidden[layer], cell[layer]


def _run_layer(
    recurrent: nn.RNNBase, layer: int, inputs: Tensor, state: State, visits: list[Visit]
) -> tuple[Tensor, State]:
    weights = [getattr(recurrent, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh")]
    biases = [getattr(recurrent, f"{name}_l{layer}") if recurrent.bias else None for name in ("bias_ih", "bias_hh")]
    step, states = STEPS[recurrent.mode], []
    for number, driven in enumerate(F.linear(inputs, weights[0], biases[0]).unbind()):
        state = step(driven, F.linear(state[0], weights[1], biases[1]), state)
        for visit in visits:
            replaced = visit(layer, number, state[0])
            state = (replaced, state[1]) if isinstance(replaced, Tensor) else state
        states.append(state[0])
    return torch.stack(states), state


def _tanh_step(driven: Tensor, recurred: Tensor, _: State) -> State:
    hidden = torch.tanh(recurred + driven)
    return hidden, hidden


def _relu_step(driven: Tensor, recurred: Tensor, _: State) -> State:
    hidden = torch.relu(recurred + driven)
    return hidden, hidden


def _lstm_step(driven: Tensor, recurred: Tensor, state: State) -> State:
    entering, forgetting, candidate, leaving = (recurred + driven).chunk(4, dim=1)
    cell = forgetting.sigmoid() * state[1] + entering.sigmoid() * candidate.tanh()
    return leaving.sigmoid() * cell.tanh(), cell


def _gru_step(driven: Tensor, recurred: Tensor, state: State) -> State:
    (reset, update, candidate), (reset_h, update_h, candidate_h) = driven.chunk(3, dim=1), recurred.chunk(3, dim=1)
    new = torch.tanh(candidate + (reset_h + reset).sigmoid() * candidate_h)
    hidden = (state[0] - new) * (update_h + update).sigmoid() + new
    return hidden, hidden


STEPS: dict[str, Callable[[Tensor, Tensor, State], State]] = {
    "RNN_TANH": _tanh_step,
    "RNN_RELU": _relu_step,
    "LSTM": _lstm_step,
    "GRU": _gru_step,
}
