"""The module of a training run, built from its settings: network, loss, optimizer and schedule."""

from itertools import pairwise
from typing import Any

from pytorch_lightning import LightningModule
from torch import nn

from gradclip.config.base import OwnClass
from gradclip.config.limits import MAX_VALUES
from gradclip.config.model import MLPModel
from gradclip.config.schema import TrainConfig
from gradclip.config.training import LossSettings
from gradclip.data.base import TrainingData
from gradclip.errors import ModelError
from gradclip.formatting import counted
from gradclip.models.build import build_network, check_smallest_batch
from gradclip.models.module import Classifier, Regressor, SupervisedModule
from gradclip.models.optimization import build_loss, optimizer_factory, schedule_factory
from gradclip.training.examples import smallest_batch
from gradclip.training.own import build_own_module


def build_module(config: TrainConfig, data: TrainingData) -> tuple[LightningModule, dict[str, Any] | None]:
    """Build a user-defined module or one of ours; return it with the arguments that rebuild its network.

    Raises:
        ModelError: the module cannot be built, or does not fit the data.
    """
    if config.module is not None:
        return build_own_module(config.module), None
    arguments = find_network_arguments(config, data)
    network = build_network(**arguments)
    if rows := smallest_batch(data, config.trainer.devices):
        check_smallest_batch(network, arguments["target"], arguments["example"], rows)
    return build_supervised_module(config, network, data), arguments


def find_network_arguments(config: TrainConfig, data: TrainingData) -> dict[str, Any]:
    """Return the arguments of :func:`gradclip.models.build.build_network`.

    Raises:
        ModelError: the widths of an MLP and the shapes of the data make layers that do not fit in memory.
    """
    model = config.parts.model
    if isinstance(model, MLPModel):
        sizes = [data.shape.example[-1], *model.widths, data.shape.outputs[-1]]
        if sum(inputs * outputs for inputs, outputs in pairwise(sizes)) > MAX_VALUES:
            ends = f"{counted(sizes[0], 'input')} and {counted(sizes[-1], 'output')}"
            raise ModelError(f"model.widths: got {model.widths}; with {ends}, at most {MAX_VALUES} weights are allowed")
    return {
        "target": model.target,
        "settings": model.arguments if isinstance(model, OwnClass) else model.model_dump(exclude={"target"}),
        "example": data.shape.example,
        "outputs": data.shape.outputs,
    }


def build_supervised_module(config: TrainConfig, network: nn.Module, data: TrainingData) -> SupervisedModule:
    """Build the LightningModule from network, loss, optimizer and schedule.

    Args:
        config: settings of loss, optimizer and schedule.
        network: the network.
        data: the data, which determine whether the module is a regressor or a classifier.
    """
    parts: dict[str, Any] = {
        "loss": _choose_loss(config.parts.loss, data),
        "optimizer": optimizer_factory(**config.parts.optimizer.model_dump()),
        "schedule": schedule_factory(**config.parts.schedule.model_dump()),
        "splits": data.splits,
    }
    if data.schema.is_classification:
        return Classifier(network, **parts)
    return Regressor(network, target_scale=data.target_scale, **parts)


def _choose_loss(chosen: LossSettings, data: TrainingData) -> nn.Module:
    """Build the chosen loss, or the loss that fits the target for ``auto``.

    Raises:
        ModelError: the loss is for the other kind of target.
    """
    fitting, others = ("cross_entropy", "") if data.schema.is_classification else ("mse", ", mae or huber")
    settings = chosen.model_dump()
    if settings["name"] == "auto":
        settings["name"] = fitting
    if (settings["name"] == "cross_entropy") != data.schema.is_classification:
        target = f"the target {data.schema.target!r} {'has classes' if data.schema.is_classification else 'is numeric'}"
        raise ModelError(f"loss: got {chosen.name!r}; {target}, choose {fitting}{others}")
    weights: dict[str, Any] = {} if data.class_weights is None else {"weight": data.class_weights}
    return build_loss(**settings, **weights)
