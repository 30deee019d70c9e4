"""From a class's dotted path and settings to a network."""

import inspect
import pydoc
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from gradclip.errors import ModelError
from gradclip.models.mlp import MLP

MLP_SETTINGS = frozenset(inspect.signature(MLP).parameters)


def build_network(target: str, settings: Mapping[str, Any], in_features: int, out_features: int = 1) -> nn.Module:
    """Build the network of class ``target`` for data of the given sizes, and try it on two rows of zeros.

    ``in_features`` and ``out_features`` are passed on where the constructor names them. The settings of our own MLP,
    which stand in the default config, are left out where another constructor does not name them.

    Raises:
        ModelError: the class cannot be found, built with these settings, or does not fit the data.

    Example:
        >>> build_network("torch.nn.Linear", {"widths": [25]}, in_features=20)
        Linear(in_features=20, out_features=1, bias=True)
    """
    constructor = _find(target)
    offered = {"in_features": in_features, "out_features": out_features, **settings}
    named = inspect.signature(constructor).parameters
    accepted = {key: value for key, value in offered.items() if key in named or key not in MLP_SETTINGS}
    try:
        network = constructor(**accepted)
    except Exception as error:  # a user's class may raise anything
        raise ModelError(f"model._target_: cannot build {target} with {sorted(accepted)}: {_reason(error)}") from error
    _try(network, target, in_features, out_features)
    return network


def _find(target: str) -> type[nn.Module]:
    try:
        found = pydoc.locate(target)
    except pydoc.ErrorDuringImport as error:
        raise ModelError(f"model._target_: got {target!r}; importing it fails: {error.value}") from error
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise ModelError(f"model._target_: got {target!r}; must be the dotted path of a torch.nn.Module")
    return found


def _try(network: nn.Module, target: str, in_features: int, out_features: int) -> None:
    training = network.training
    try:
        with torch.no_grad():
            shape = tuple(network.eval()(torch.zeros(2, in_features)).shape)
    except Exception as error:  # a user's class may raise anything
        raise ModelError(f"model._target_: {target} fails on rows of {in_features} inputs: {_reason(error)}") from error
    network.train(training)
    if shape != (2, out_features):
        raise ModelError(f"model._target_: {target} turns 2 rows into shape {shape}; must be (2, {out_features})")
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ModelError(f"model._target_: {target} has no parameter to train")


def _reason(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line), type(error).__name__)
