"""The multilayer perceptron has the layers, the initialization and the number of weights that its settings say."""

import pytest
import torch
from torch import nn

from gradclip import MLP
from gradclip.errors import ModelError
from gradclip.models.mlp import ACTIVATIONS, INITIALIZATIONS


def linears(network):
    return [layer for layer in network if isinstance(layer, nn.Linear)]


def test_the_tutorials_network_has_551_parameters():
    assert sum(parameter.numel() for parameter in MLP(20).parameters()) == 20 * 25 + 25 + 25 + 1


@pytest.mark.parametrize(
    ("widths", "shapes"), [([], [(3, 20)]), ([25], [(25, 20), (3, 25)]), ([8, 4], [(8, 20), (4, 8), (3, 4)])]
)
def test_layers_and_outputs_have_the_expected_shapes(widths, shapes):
    network = MLP(20, 3, widths=widths)
    assert [tuple(layer.weight.shape) for layer in linears(network)] == shapes
    assert network(torch.zeros(7, 20)).shape == (7, 3)
    assert isinstance(network[-1], nn.Linear)  # no activation after the last layer


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_activation_follows_each_hidden_layer(name):
    network = MLP(20, 1, widths=[8, 4], activation=name)
    assert [type(layer) for layer in network] == [nn.Linear, ACTIVATIONS[name], nn.Linear, ACTIVATIONS[name], nn.Linear]
    assert network(torch.ones(2, 20)).isfinite().all()


@pytest.mark.parametrize("seed", range(3))
def test_uniform_initializations_fill_their_bounds_and_biases_are_zero(seed):
    torch.manual_seed(seed)
    hidden, output = linears(MLP(200, 100, widths=[150]))
    for layer, bound in [(hidden, (6 / 200) ** 0.5), (output, (6 / (150 + 100)) ** 0.5)]:  # He, then Glorot
        assert layer.weight.abs().max() <= bound
        assert layer.weight.abs().max() > 0.99 * bound
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
        assert not layer.bias.any()


@pytest.mark.parametrize(
    ("name", "deviation"),
    [("he_normal", (2 / 300) ** 0.5), ("glorot_normal", (2 / 500) ** 0.5), ("lecun_normal", (1 / 300) ** 0.5)],
)
def test_normal_initializations_have_their_standard_deviation(name, deviation):
    torch.manual_seed(0)
    (layer,) = linears(MLP(300, 200, widths=[], output_initialization=name))
    assert layer.weight.std().item() == pytest.approx(deviation, rel=0.02)
    assert layer.weight.mean().item() == pytest.approx(0.0, abs=0.1 * deviation)
    assert layer.weight.abs().max() > 3 * deviation  # beyond the bounds of a uniform distribution


@pytest.mark.parametrize("name", INITIALIZATIONS)
def test_hidden_and_output_layers_have_their_own_initialization(name):
    torch.manual_seed(0)
    hidden = linears(MLP(20, 5, widths=[30, 10], initialization=name, output_initialization="pytorch"))
    assert [bool(layer.bias.any()) for layer in hidden] == [False, False, True]
    output = linears(MLP(20, 5, widths=[30, 10], initialization="pytorch", output_initialization=name))
    assert [bool(layer.bias.any()) for layer in output] == [True, True, False]


def test_pytorch_initialization_keeps_the_weights_that_torch_draws():
    torch.manual_seed(0)
    expected = nn.Linear(20, 4)
    torch.manual_seed(0)
    (layer,) = linears(MLP(20, 4, widths=[], output_initialization="pytorch"))
    assert torch.equal(layer.weight, expected.weight)
    assert torch.equal(layer.bias, expected.bias)


def test_the_same_seed_gives_the_same_weights():
    networks = []
    for _ in range(2):
        torch.manual_seed(5)
        networks.append(MLP(20))
    assert all(torch.equal(a, b) for a, b in zip(*(network.parameters() for network in networks), strict=True))


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ({"activation": "relu6"}, "activation: got 'relu6' (did you mean 'relu'?); choose from relu,"),
        ({"initialization": "he"}, "initialization: got 'he'; choose from pytorch, he_uniform,"),
        ({"output_initialization": "he"}, "output_initialization: got 'he'; choose from pytorch,"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_unknown_option_is_refused_with_the_choices(option, line):
    with pytest.raises(ModelError) as caught:
        MLP(3, **option)
    assert str(caught.value).startswith(line)
