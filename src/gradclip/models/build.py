"""Networks built from the dotted path of a class and its settings."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from gradclip.errors import ModelError, first_line
from gradclip.models.classes import construct, find_class, lightning_package
from gradclip.models.mlp import MLP
from gradclip.models.recurrent import GRU, LSTM, RNN

OUR_SETTINGS = frozenset(name for network in (MLP, RNN, LSTM, GRU) for name in inspect.signature(network).parameters)


def build_network(
    target: str, settings: Mapping[str, Any], example: Sequence[int], outputs: Sequence[int] = (1,)
) -> nn.Module:
    """Build a network for data of the given shapes, and check on a batch of zeros that it fits them.

    If the constructor has parameters ``in_features``, ``out_features`` or ``every_step``, they are derived from the
    shapes: the last dimensions, and whether there is an output at every time step. Settings of gradclip's own networks,
    which the config may contain, are dropped unless the constructor has a parameter of that name.

    Args:
        target: dotted path of the class.
        settings: arguments of its constructor.
        example: shape of one example's inputs.
        outputs: shape of the network's outputs for one example.

    Raises:
        ModelError: the class is not found, is not a module, cannot be constructed from these arguments or fails on a
            batch; or its outputs have the wrong shape, or it has no trainable parameter.

    Example:
        >>> build_network("torch.nn.Linear", {"widths": [25]}, example=(20,))
        Linear(in_features=20, out_features=1, bias=True)
    """
    constructor = _find_network(target)
    sizes = {"in_features": example[-1], "out_features": outputs[-1], "every_step": len(outputs) > 1}
    named = inspect.signature(constructor).parameters
    offered = {**sizes, **settings}
    accepted = {key: value for key, value in offered.items() if key in named or key not in OUR_SETTINGS}
    network: nn.Module = construct(constructor, accepted, "model")
    _check_fits_data(network, target, tuple(example), tuple(outputs))
    return network


def _find_network(target: str) -> type[nn.Module]:
    kind = "a torch.nn.Module"
    found = find_class(target, "model._target_", kind)
    if lightning_package(found, "LightningModule"):
        what = "a LightningModule, whose training_step would not be used"
        raise ModelError(f"model._target_: got {target!r}; it is {what}: set module._target_={target} instead")
    if not issubclass(found, nn.Module):
        raise ModelError(f"model._target_: got {target!r}; must be the dotted path of {kind}")
    return found


def _check_fits_data(network: nn.Module, target: str, example: tuple[int, ...], outputs: tuple[int, ...]) -> None:
    """Run the network on two examples of zeros and check the shape of its outputs."""
    training = network.training
    try:
        with torch.no_grad():
            result = network.eval()(torch.zeros(2, *example))
    except Exception as error:  # a user's class may raise anything
        what = f"rows of {example[0]} inputs" if len(example) == 1 else f"sequences of shape {example}"
        raise ModelError(f"model._target_: {target} fails on {what}: {first_line(error)}") from error
    network.train(training)
    shape = tuple(result.shape) if isinstance(result, torch.Tensor) else f"a {type(result).__name__}"
    if shape != (2, *outputs):
        raise ModelError(f"model._target_: {target} turns 2 examples into {shape}; must be {(2, *outputs)}")
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ModelError(f"model._target_: {target} has no parameter to train")


def check_smallest_batch(network: nn.Module, target: str, example: Sequence[int], rows: int) -> None:
    """Check that a network can train on the smallest batch; BatchNorm, for example, cannot train on a single row.

    Weights, statistics and random states are restored.

    Args:
        network: a network that fits the data.
        target: dotted path of its class, for messages.
        example: shape of one example's inputs.
        rows: number of examples in the smallest batch.

    Raises:
        ModelError: the network fails in training mode.
    """
    training, state = network.training, {name: value.clone() for name, value in network.state_dict().items()}
    try:
        with torch.no_grad(), torch.random.fork_rng():
            network.train()(torch.zeros(rows, *example))
    except Exception as error:  # a user's class may raise anything
        size = f"a batch of {rows}, the last of an epoch; choose another trainer.batch_size"
        raise ModelError(f"model._target_: {target} cannot train on {size}: {first_line(error)}") from error
    network.load_state_dict(state)
    network.train(training)
