"""Seed, then build the components of a training run. Read :func:`build_components` from top to bottom."""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.callbacks import EarlyStopping
from torch import nn

from gradclip import keys
from gradclip.callbacks.gradient_monitor import GradientMonitor
from gradclip.callbacks.hidden_state_monitor import HiddenStateMonitor
from gradclip.callbacks.progress import Progress
from gradclip.callbacks.random_state import RandomState
from gradclip.config.data import SeriesSettings, TaskSettings
from gradclip.config.schema import TrainConfig
from gradclip.data.base import TrainingData
from gradclip.data.sequences import SequenceData
from gradclip.data.series import SeriesData
from gradclip.data.sources import SOURCES
from gradclip.data.tabular import TabularData
from gradclip.errors import ModelError, TrainerError, first_line
from gradclip.models.build import build_network
from gradclip.models.module import Classifier, Regressor, SupervisedModule
from gradclip.models.optimization import build_loss, optimizer_factory, schedule_factory
from gradclip.training.clipping import clipping_callbacks, lightning_clipping

for library in ("pytorch_lightning", "lightning_fabric"):
    logging.getLogger(library).setLevel(logging.ERROR)  # their greetings and tips
warnings.filterwarnings("ignore", ".*does not have many workers.*")  # the rows are in memory: none are needed
warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.*")  # Lightning's own use of torch
warnings.filterwarnings("ignore", ".*sync_dist=True.*")  # each process evaluates all rows: nothing to average
warnings.filterwarnings("ignore", ".*smaller than the logging interval.*")  # the monitor logs every step by itself

NEVER = 10**9  # epochs without progress before training ends


@dataclass(frozen=True)
class Components:
    """The components of a training run."""

    data: TrainingData
    module: SupervisedModule
    monitor: GradientMonitor
    hidden: HiddenStateMonitor
    trainer: Trainer
    description: dict[str, Any]  # the arguments of build_network that rebuild the network


def build_components(config: TrainConfig, folder: Path, is_main: bool = True) -> Components:
    """Make data, network, callbacks and trainer.

    Args:
        config: all settings.
        folder: where Lightning may write.
        is_main: whether this process shows its progress; of several that train together only the first does.

    Raises:
        GradclipError: they do not go together, or this machine does not have what they ask for.
    """
    seed_everything(config.seed, verbose=False)
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    data = build_data(config)
    description = describe_network(config, data)
    module = build_module(config, build_network(**description), data)
    monitor = GradientMonitor(steps_after_divergence=config.trainer.steps_after_divergence)
    hidden = HiddenStateMonitor()
    clipping = clipping_callbacks(config)
    for callback in clipping:
        callback.check(module)
    callbacks: list[Callback] = [monitor, hidden, *clipping, *stopping_callbacks(config, data), RandomState()]
    trainer = build_trainer(config, folder, is_main, data.score_scale.score, callbacks)
    return Components(data, module, monitor, hidden, trainer, description)


def describe_network(config: TrainConfig, data: TrainingData) -> dict[str, Any]:
    """The arguments of :func:`gradclip.models.build.build_network`."""
    return {
        "target": config.model.target,
        "settings": config.model.model_dump(exclude={"target"}),
        "example": data.shape.example,
        "outputs": data.shape.outputs,
    }


def build_data(config: TrainConfig) -> TrainingData:
    """Make or read the examples and put them into batches."""
    batches: dict[str, Any] = {"batch_size": config.trainer.batch_size, "seed": config.seed}
    match config.data:
        case TaskSettings():
            return SequenceData(**config.data.model_dump(), **batches)
        case SeriesSettings():
            return SeriesData(**config.data.model_dump(exclude={"name"}), **batches)
        case _:
            of_batches = {"scale_inputs", "scale_target", "class_weights"}
            settings = config.data.model_dump(exclude={"name", *of_batches})
            batches |= config.data.model_dump(include=of_batches)
            return TabularData(SOURCES[config.data.name](**settings), **batches)


def build_module(config: TrainConfig, network: nn.Module, data: TrainingData) -> SupervisedModule:
    """Put network, loss and optimizer together.

    Args:
        config: chooses loss, optimizer and schedule.
        network: the network.
        data: decides whether it is a regressor or a classifier.
    """
    parts: dict[str, Any] = {
        "loss": _loss(config, data),
        "optimizer": optimizer_factory(**config.optimizer.model_dump()),
        "schedule": schedule_factory(**config.schedule.model_dump()),
    }
    if data.schema.is_classification:
        return Classifier(network, **parts)
    return Regressor(network, target_scale=data.target_scale, **parts)


def _loss(config: TrainConfig, data: TrainingData) -> nn.Module:
    """The loss that is chosen, or that suits the target of a table, which is known once it is read.

    Raises:
        ModelError: it is for the other kind of target.
    """
    fitting, others = ("cross_entropy", "") if data.schema.is_classification else ("mse", ", mae or huber")
    settings = config.loss.model_dump()
    if settings["name"] == "auto":
        settings["name"] = fitting
    if (settings["name"] == "cross_entropy") != data.schema.is_classification:
        target = f"the target {data.schema.target!r} is {'classes' if data.schema.is_classification else 'numbers'}"
        raise ModelError(f"loss: got {config.loss.name!r}; {target}, choose {fitting}{others}")
    weights: dict[str, Any] = {} if data.class_weights is None else {"weight": data.class_weights}
    return build_loss(**settings, **weights)


def build_trainer(
    config: TrainConfig, folder: Path, is_main: bool, score: keys.Score, callbacks: list[Callback]
) -> Trainer:
    """Make the Trainer, clipping by itself where Lightning knows the method.

    Args:
        config: of the run.
        folder: where Lightning may write.
        is_main: whether this is the first process, which shows progress.
        score: what the progress bar shows.
        callbacks: in the order in which they act.

    Raises:
        TrainerError: this machine does not have what the trainer asks for.
    """
    ours = {"threads", "batch_size", "steps_after_divergence", "stop_when_solved", "progress_bar"}
    settings = config.trainer.model_dump(exclude=ours)
    show_bar = config.trainer.progress_bar and is_main
    try:
        return Trainer(
            **settings,
            **lightning_clipping(config),
            callbacks=[*callbacks, *([Progress((score.train, score.test))] if show_bar else [])],
            logger=False,
            default_root_dir=folder,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,  # ours is one of the callbacks
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # our batches are shared out among processes by themselves
        )
    except MisconfigurationException as error:
        got = f"{config.trainer.accelerator!r} with devices={config.trainer.devices}"
        raise TrainerError(f"trainer.accelerator: got {got}; {first_line(error)}") from error


def choose_device(config: TrainConfig) -> torch.device:
    """The device that an ordinary run trains on.

    Raises:
        TrainerError: this machine does not have it.
    """
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    trainer = build_trainer(config, Path(), False, keys.MSE, [])
    device: torch.device = trainer.strategy.root_device
    return device


def stopping_callbacks(config: TrainConfig, data: TrainingData) -> list[EarlyStopping]:
    """The callback that ends training once the problem is solved, where that is asked for."""
    score_scale = data.score_scale
    if not config.trainer.stop_when_solved:
        return []
    mode = "max" if score_scale.score.perfect > score_scale.baseline else "min"
    mark = score_scale.solved_at
    return [
        EarlyStopping(score_scale.score.test, mode=mode, stopping_threshold=mark, patience=NEVER, check_finite=False)
    ]
