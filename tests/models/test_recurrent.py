"""Recurrent networks have the initial weights of the papers, and truncation limits only how far gradients reach."""

import pytest
import torch
from torch import nn

from gradclip import GRU, LSTM, RNN
from gradclip.errors import ModelError
from gradclip.models.build import build_network

KINDS = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
every_kind = pytest.mark.parametrize("kind", KINDS)
HIDDEN = 50


def weights(network):
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def make(initialization, **settings):
    torch.manual_seed(0)
    return RNN(6, 4, hidden_size=HIDDEN, initialization=initialization, **settings)


@every_kind
@pytest.mark.parametrize("every_step", [False, True])
def test_the_output_is_linear_in_the_last_state_or_in_every_state(kind, every_step):
    network, inputs = KINDS[kind](6, 4, hidden_size=8, layers=2, every_step=every_step), torch.randn(3, 9, 6)
    states, _ = network.recurrent(inputs)
    expected = states @ network.output.weight.T + network.output.bias
    torch.testing.assert_close(network(inputs), expected if every_step else expected[:, -1])


@pytest.mark.parametrize(("name", "deviation"), [("sigmoid", 0.01), ("basic_tanh", 0.1)])
def test_normal_initializations_have_the_papers_deviation_and_zero_biases(name, deviation):
    drawn = weights(make(name))
    everything = torch.cat([values.flatten() for key, values in drawn.items() if "weight" in key])
    assert everything.std().item() == pytest.approx(deviation, rel=0.05)
    assert everything.mean().abs() < deviation / 20
    assert not any(values.any() for key, values in drawn.items() if "bias" in key)


def test_smart_tanh_is_sparse_with_the_spectral_radius_of_the_paper():
    drawn = weights(make("smart_tanh", layers=2))
    for recurrent in (drawn["recurrent.weight_hh_l0"], drawn["recurrent.weight_hh_l1"]):
        assert (recurrent != 0).sum(dim=1).tolist() == [15] * HIDDEN
        assert torch.linalg.eigvals(recurrent).abs().max().item() == pytest.approx(0.95, rel=1e-4)
    assert drawn["recurrent.weight_ih_l0"].std().item() == pytest.approx(0.01, rel=0.1)


def test_smart_tanh_keeps_all_weights_of_a_small_layer():
    torch.manual_seed(0)
    assert (RNN(6, 4, hidden_size=5, initialization="smart_tanh").recurrent.weight_hh_l0 != 0).all()


def test_identity_is_scaled_and_other_weights_have_the_given_deviation():
    drawn = weights(make("identity", identity_scale=0.5, nonlinearity="relu"))
    assert torch.equal(drawn["recurrent.weight_hh_l0"], 0.5 * torch.eye(HIDDEN))
    assert drawn["recurrent.weight_ih_l0"].std().item() == pytest.approx(0.001, rel=0.2)
    wide = weights(make("identity", weight_deviation=0.1))
    assert torch.equal(wide["recurrent.weight_hh_l0"], torch.eye(HIDDEN))
    assert wide["recurrent.weight_ih_l0"].std().item() == pytest.approx(0.1, rel=0.2)


def test_pytorch_initialization_keeps_the_weights_that_torch_draws():
    torch.manual_seed(0)
    expected = nn.RNN(6, HIDDEN, batch_first=True)
    ours = make("pytorch").recurrent
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(ours.parameters(), expected.parameters(), strict=True))


@every_kind
def test_truncation_limits_how_far_gradients_reach_back_without_changing_outputs(kind):
    torch.manual_seed(0)
    whole = KINDS[kind](6, 4, every_step=True)
    truncated = KINDS[kind](6, 4, every_step=True, truncation=4)
    truncated.load_state_dict(whole.state_dict())
    inputs = torch.randn(3, 10, 6, requires_grad=True)
    torch.testing.assert_close(truncated(inputs), whole(inputs))
    for network, first in [(whole, 0), (truncated, 4)]:  # windows of steps 0 to 3, 4 to 7 and 8 to 9
        (gradient,) = torch.autograd.grad(network(inputs)[:, 7].sum(), inputs)
        reached = gradient.abs().sum(dim=(0, 2)).nonzero().flatten()
        assert reached.tolist() == list(range(first, 8))


@every_kind
def test_a_network_is_built_with_an_output_at_the_last_step_or_at_every_step(kind):
    path = f"gradclip.models.recurrent.{kind}"
    assert build_network(path, {"hidden_size": 8}, (20, 6), (4,))(torch.zeros(2, 20, 6)).shape == (2, 4)
    assert build_network(path, {"hidden_size": 8}, (20, 6), (20, 5))(torch.zeros(2, 20, 6)).shape == (2, 20, 5)


def test_an_mlp_does_not_fit_sequences():
    message = r"^model._target_: gradclip.models.mlp.MLP turns 2 examples into \(2, 20, 4\); must be \(2, 4\)$"
    with pytest.raises(ModelError, match=message):
        build_network("gradclip.models.mlp.MLP", {}, (20, 6), (4,))


def test_a_recurrent_network_does_not_fit_rows():
    with pytest.raises(ModelError, match=r"fails on rows of 20 inputs|turns 2 examples into"):
        build_network("gradclip.models.recurrent.RNN", {}, (20,), (1,))


def test_an_unknown_initialization_is_refused_with_the_choices():
    with pytest.raises(ModelError, match=r"^initialization: got 'x'; choose from pytorch,"):
        RNN(3, initialization="x")
