"""The components of a training run. Read :func:`build_components` first."""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytorch_lightning
import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from pytorch_lightning.callbacks import EarlyStopping

from gradclip.callbacks.gradient_monitor import GradientMonitor
from gradclip.callbacks.hidden_state_monitor import HiddenStateMonitor
from gradclip.callbacks.progress import Progress
from gradclip.callbacks.random_state import RandomState
from gradclip.callbacks.trainer_checks import callbacks_of, check_whole_gradients
from gradclip.config.data import OwnDataSettings
from gradclip.config.schema import TrainConfig
from gradclip.data.base import TrainingData
from gradclip.data.score_scale import ScoreScale
from gradclip.models.module import SupervisedModule
from gradclip.training.clipping import clipping_callbacks, lightning_can_clip, lightning_clipping
from gradclip.training.examples import build_data, build_data_module
from gradclip.training.lightning_errors import lightning_errors
from gradclip.training.logged_scores import LoggedScores
from gradclip.training.modules import build_module
from gradclip.training.outcome import Curves
from gradclip.training.own import as_checkpoint, build_own_callbacks, check_monitored, package_of
from gradclip.training.own_data import OwnData

LIGHTNING_LOGGERS = ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric")
NEVER = 10**9  # patience of early stopping, in epochs: only the threshold stops training


@dataclass(frozen=True)
class Components:
    """The components of a training run.

    Attributes:
        data: the data, with shapes and units.
        data_module: the data module that the Trainer gets.
        module: one of our modules, or a user-defined one.
        scores: callback that keeps the metrics of a user-defined module; None for our modules, which keep their curves.
        monitor: callback that records the gradients.
        hidden: callback that records the gradients at hidden states.
        trainer: the Trainer, from the module's Lightning package.
        network_arguments: arguments of build_network that rebuild the network; None for a user-defined module.
    """

    data: TrainingData
    data_module: LightningDataModule
    module: LightningModule
    scores: LoggedScores | None
    monitor: GradientMonitor
    hidden: HiddenStateMonitor
    trainer: Trainer
    network_arguments: dict[str, Any] | None

    @property
    def score_scale(self) -> ScoreScale:
        """The score by which the run is judged."""
        return self.data.score_scale if self.scores is None else self.scores.score_scale

    @property
    def curves(self) -> Curves:
        """The score of each split, by epoch."""
        if self.scores is not None:
            return self.scores.curves
        assert isinstance(self.module, SupervisedModule)
        return dict(zip(self.data.splits, self.module.curves.values(), strict=True))


def _silence_lightning() -> None:
    """Silence greetings and warnings of Lightning; called late, since importing a Lightning package resets its level.

    Importing gradclip does not change the warning filters of a program; a training run does.
    """
    for name in LIGHTNING_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")  # the rows are in memory: no workers are needed
    warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.*")  # caused by Lightning's own use of torch
    warnings.filterwarnings("ignore", ".*smaller than the logging interval.*")  # the monitor itself logs every step


def build_components(config: TrainConfig, folder: Path, is_main: bool = True) -> Components:
    """Seed the random number generators, and build data, network, callbacks and trainer.

    Args:
        config: all settings.
        folder: folder where Lightning may write.
        is_main: whether this process shows its progress; in distributed training, only the first does.

    Raises:
        GradclipError: the settings do not fit together, or this machine lacks what they require.
    """
    seed_everything(config.seed, verbose=False)
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    data = build_data(config)
    module, network_arguments = build_module(config, data)
    package = package_of(module)
    _silence_lightning()
    monitor = GradientMonitor(steps_after_divergence=config.trainer.steps_after_divergence)
    hidden = HiddenStateMonitor()
    by_lightning = lightning_can_clip(config) and module.automatic_optimization  # Lightning never clips manual steps
    clipping = [] if by_lightning else clipping_callbacks(config)
    for callback in clipping:
        callback.check(module)
    own = build_own_callbacks(config.callbacks, package)
    callbacks: list[Callback] = [monitor, hidden, *clipping, *stopping_callbacks(config, data), *own, RandomState()]
    logged = tuple(map(data.score_scale.score.by_epoch, data.splits))
    if not config.module:
        check_monitored(config.callbacks, logged)
        warnings.filterwarnings("ignore", ".*sync_dist=True.*")  # our modules' scores already cover all processes
    if is_main and config.trainer.progress_bar:
        callbacks.append(Progress((config.metric,) if config.metric else logged))
    trainer = build_trainer(config, folder, callbacks, package, lightning_clipping(config) if by_lightning else {})
    check_whole_gradients(trainer, "gradclip")
    scores = None
    if config.module:
        mode = config.metric_mode or "min"
        scores = as_checkpoint(LoggedScores, package)(config.metric, mode, data.choosing_split)
        callbacks_of(trainer).append(scores)  # after the user's callbacks, whose metrics it also keeps
    data_module = build_data_module(data, module, package)
    source = data.own if isinstance(data, OwnData) else data
    source.trainer = trainer  # Lightning sets it on its own data module, which may only forward to this one
    return Components(data, data_module, module, scores, monitor, hidden, trainer, network_arguments)


def build_trainer(
    config: TrainConfig, folder: Path, callbacks: list[Callback], package: ModuleType, clipping: Mapping[str, Any]
) -> Trainer:
    """Build the Trainer.

    Args:
        config: settings of the run.
        folder: folder where Lightning may write.
        callbacks: the callbacks, in the order in which they act.
        package: the Lightning package of the Trainer.
        clipping: the Trainer's own clipping arguments, from
            :func:`~gradclip.training.clipping.lightning_clipping`; empty if the Trainer does not clip.

    Raises:
        TrainerError: this machine lacks what the Trainer requires.
    """
    ours = {"threads", "batch_size", "steps_after_divergence", "stop_when_solved", "progress_bar"}
    settings = config.trainer.model_dump(exclude=ours)
    got = f"{config.trainer.accelerator!r} with devices={config.trainer.devices}"
    with lightning_errors(f"trainer.accelerator: got {got}"):
        trainer: Trainer = package.Trainer(
            **settings,
            **clipping,
            callbacks=callbacks,
            logger=False,
            default_root_dir=folder,
            enable_checkpointing=any(isinstance(one, package.callbacks.Checkpoint) for one in callbacks),
            enable_model_summary=False,
            enable_progress_bar=False,  # ours is one of the callbacks
            num_sanity_val_steps=0,
            use_distributed_sampler=isinstance(config.data, OwnDataSettings),  # our own loaders distribute batches
        )
    return trainer


def choose_device(config: TrainConfig) -> torch.device:
    """Return the device on which the Trainer would train.

    Raises:
        TrainerError: this machine does not have it.
    """
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    _silence_lightning()
    trainer = build_trainer(config, Path(), [], pytorch_lightning, {})
    device: torch.device = trainer.strategy.root_device
    return device


def stopping_callbacks(config: TrainConfig, data: TrainingData) -> list[EarlyStopping]:
    """Return the callback that ends training once the problem is solved, if ``trainer.stop_when_solved`` is set."""
    score_scale = data.score_scale
    if not config.trainer.stop_when_solved:
        return []
    mode = "max" if score_scale.score.higher_is_better else "min"
    monitored, worst = score_scale.score.by_epoch(data.choosing_split), score_scale.solved_from
    return [EarlyStopping(monitored, mode=mode, stopping_threshold=worst, patience=NEVER, check_finite=False)]
