"""A network is built from its settings and tried once without a trace; unsuitable ones are refused."""

import pytest
import torch
from torch import nn

from gradclip import MLP
from gradclip.errors import ModelError
from gradclip.models.build import build_network

MLP_PATH = "gradclip.models.mlp.MLP"
HERE = f"{__name__}."
MLP_SETTINGS = {"widths": [8, 4], "activation": "tanh", "initialization": "he_normal"}


class Flat(nn.Linear):
    """A layer whose outputs lack the last dimension."""

    def forward(self, inputs):
        return super().forward(inputs)[:, 0]


class Silent(nn.Linear):
    """A layer that raises an error without a message."""

    def forward(self, inputs):
        raise NotImplementedError


class Pair(nn.Linear):
    def forward(self, inputs):
        return super().forward(inputs), None


class Failing(nn.Linear):
    """A layer whose constructor raises an error."""

    def __init__(self, in_features, error):
        super().__init__(in_features, 1)
        raise {"assertion": AssertionError, "key": KeyError}[error]("dropout: must be 0 to 1")


def test_our_own_network_is_built_with_its_settings():
    network = build_network(MLP_PATH, MLP_SETTINGS, example=(20,), outputs=(3,))
    assert isinstance(network, MLP)
    assert isinstance(network[1], nn.Tanh)
    assert [layer.out_features for layer in network if isinstance(layer, nn.Linear)] == [8, 4, 3]


def test_a_torch_network_gets_the_sizes_and_only_the_settings_that_it_accepts():
    network = build_network("torch.nn.Linear", MLP_SETTINGS | {"bias": False}, example=(20,))
    assert (network.in_features, network.out_features, network.bias) == (20, 1, None)


def test_a_lazy_network_is_initialized():
    network = build_network("torch.nn.LazyLinear", {}, example=(20,))
    assert network.weight.shape == (1, 20)


def test_the_check_does_not_change_training_mode_gradients_or_statistics():
    class_path = "torch.nn.BatchNorm1d"
    network = build_network(class_path, {"num_features": 1}, example=(1,))
    assert network.training
    assert network.num_batches_tracked == 0
    assert network.weight.grad is None


def test_the_check_draws_no_random_numbers():
    torch.manual_seed(0)
    build_network(MLP_PATH, {}, example=(20,))
    after = torch.rand(3)
    torch.manual_seed(0)
    MLP(20)
    assert torch.equal(torch.rand(3), after)


@pytest.mark.parametrize(
    ("target", "settings", "message"),
    [
        ("torch.nn.Linaer", {}, "got 'torch.nn.Linaer'; must be the dotted path of a torch.nn.Module"),
        ("no_such_package.Network", {}, "got 'no_such_package.Network'; must be the dotted path"),
        ("math.sqrt", {}, "got 'math.sqrt'; must be the dotted path of a torch.nn.Module"),
        ("collections.OrderedDict", {}, "must be the dotted path of a torch.nn.Module"),
        ("torch.nn.Bilinear", {}, "Bilinear needs the argument 'in1_features'; set model.in1_features=..."),
        ("torch.nn.Linear", {"in_features": 7}, "torch.nn.Linear fails on rows of 20 inputs: "),
        (HERE + "Flat", {}, r"turns 2 examples into \(2,\); must be \(2, 1\)"),
        ("torch.nn.Linear", {"out_features": 3}, r"turns 2 examples into \(2, 3\); must be \(2, 1\)"),
        ("torch.nn.Identity", {}, r"turns 2 examples into \(2, 20\); must be \(2, 1\)"),
        (HERE + "Pair", {}, r"turns 2 examples into a tuple; must be \(2, 1\)"),
        (HERE + "Failing", {"error": "assertion"}, "cannot build .*dropout: must be 0 to 1"),
        (HERE + "Failing", {"error": "key"}, "cannot build .*dropout: must be 0 to 1"),
        (HERE + "Silent", {}, "fails on rows of 20 inputs: NotImplementedError"),
    ],
)
def test_unsuitable_networks_are_refused(target, settings, message):
    with pytest.raises(ModelError, match=f"^model._target_: .*{message}") as caught:
        build_network(target, settings, example=(20,))
    assert "\n" not in str(caught.value)


def test_a_setting_that_a_network_does_not_have_is_refused():
    with pytest.raises(ModelError, match=r"^model.biass: no such argument of Linear \(did you mean 'bias'\?\)$"):
        build_network("torch.nn.Linear", {"biass": False}, example=(20,))


def test_a_network_without_trainable_parameters_is_refused():
    with pytest.raises(ModelError, match=r"^model._target_: torch.nn.Identity has no parameter to train$"):
        build_network("torch.nn.Identity", {}, example=(1,))


def test_a_class_whose_import_fails_is_refused(tmp_path, monkeypatch):
    (tmp_path / "broken_networks.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match="importing it fails: No module named 'a_package_that_is_not_there'"):
        build_network("broken_networks.Network", {}, example=(20,))
