"""An unrolled layer computes what torch's does, and passes every hidden state to its hooks."""

import pytest
import torch
from torch import nn

from gradclip.errors import ModelError
from gradclip.models.unrolling import Unrolling

LAYERS = {
    "tanh": lambda: nn.RNN(6, 10, num_layers=2, batch_first=True),
    "relu": lambda: nn.RNN(6, 10, nonlinearity="relu", bias=False),
    "lstm": lambda: nn.LSTM(6, 10, num_layers=2),
    "gru": lambda: nn.GRU(6, 10, num_layers=2, batch_first=True),
}
every_layer = pytest.mark.parametrize("kind", LAYERS)


def no_op(_layer, _step, _hidden):
    """Do nothing."""


def make(kind, seed=0):
    torch.manual_seed(seed)
    return LAYERS[kind]()


def states_for(layer):
    hidden = torch.full((layer.num_layers, 4, 10), 0.3)
    return (hidden, -hidden) if isinstance(layer, nn.LSTM) else hidden


def inputs_for(layer):
    return torch.randn((4, 7, 6) if layer.batch_first else (7, 4, 6), generator=torch.Generator().manual_seed(1))


def run(layer, state=None):
    """Return outputs, last states and all gradients."""
    layer.zero_grad()
    outputs, last = layer(inputs_for(layer), state)
    lasts = list(last) if isinstance(last, tuple) else [last]
    sum((part * torch.arange(part.numel()).view_as(part)).sum() for part in [outputs, *lasts]).backward()
    return [outputs, *lasts, *(parameter.grad.clone() for parameter in layer.parameters())]


@every_layer
@pytest.mark.parametrize("with_state", [False, True], ids=["from zero", "from a state"])
def test_outputs_states_and_gradients_equal_those_of_torch(kind, with_state):
    layer = make(kind)
    state = states_for(layer) if with_state else None
    expected = run(layer, state)
    unrolling = Unrolling(layer, no_op)
    ours = run(layer, state)
    unrolling.remove()
    if kind in {"tanh", "relu"}:
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(ours, expected, strict=True))
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-4)
    assert all(torch.equal(after, before) for after, before in zip(run(layer, state), expected, strict=True))


@every_layer
def test_the_hook_receives_every_hidden_state_in_order(kind):
    layer, visited = make(kind), []
    Unrolling(layer, lambda *state: visited.append(state))
    outputs, last = layer(inputs_for(layer))
    assert [state[:2] for state in visited] == [(layer, step) for layer in range(layer.num_layers) for step in range(7)]
    top = torch.stack([hidden for number, _, hidden in visited if number == layer.num_layers - 1])
    assert torch.equal(top.transpose(0, 1) if layer.batch_first else top, outputs)
    hidden = last[0] if isinstance(last, tuple) else last
    assert torch.equal(hidden[-1], top[-1])


def test_the_derivative_at_a_state_includes_all_later_steps():
    layer, derivatives = make("tanh"), {}
    Unrolling(
        layer, lambda number, step, hidden: hidden.register_hook(lambda d: derivatives.update({(number, step): d}))
    )
    outputs, _ = layer(inputs_for(layer))
    outputs[:, [3, 6]].sum().backward()
    weight = layer.weight_hh_l1.detach()
    expected = torch.zeros(4, 10)
    for step in reversed(range(7)):  # dh(t+1)/dh(t) of tanh units, by hand
        expected = expected + (1.0 if step in {3, 6} else 0.0)
        torch.testing.assert_close(derivatives[1, step], expected)
        expected = (expected * (1 - outputs[:, step].detach() ** 2)) @ weight


def test_dropout_between_layers_equals_that_of_torch():
    torch.manual_seed(0)
    layer = nn.RNN(6, 10, num_layers=2, dropout=0.5, batch_first=True)
    Unrolling(layer, no_op)
    torch.manual_seed(1)
    ours, _ = layer(inputs_for(layer))
    del layer.forward
    torch.manual_seed(1)
    expected, _ = layer(inputs_for(layer))
    assert torch.equal(ours, expected)


def test_hooks_are_added_and_removed_independently():
    layer, first, second = make("gru"), [], []
    one = Unrolling(layer, lambda *state: first.append(state[1]))
    other = Unrolling(layer, lambda *state: second.append(state[1]))
    layer(inputs_for(layer))
    one.remove()
    layer(inputs_for(layer))
    other.remove()
    layer(inputs_for(layer))
    assert (len(first), len(second)) == (14, 28)
    assert "forward" not in vars(layer)


def test_the_layer_can_be_saved_while_it_is_unrolled():
    layer = make("lstm")
    Unrolling(layer, no_op)
    assert layer.state_dict().keys() == make("lstm").state_dict().keys()


@pytest.mark.parametrize(
    ("layer", "what"),
    [(nn.LSTM(2, 3, bidirectional=True), "is bidirectional"), (nn.LSTM(2, 3, proj_size=2), "has projections")],
)
def test_bidirectional_layers_and_projections_are_refused(layer, what):
    with pytest.raises(ModelError, match=f"^model: got a recurrent layer that {what}; its hidden states cannot"):
        Unrolling(layer, no_op)


def test_packed_sequences_are_refused():
    layer = make("lstm")
    Unrolling(layer, no_op)
    packed = nn.utils.rnn.pack_sequence([torch.zeros(3, 6), torch.zeros(2, 6)])
    with pytest.raises(ModelError, match=r"^model: got packed or single sequences"):
        layer(packed)
