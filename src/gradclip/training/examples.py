"""The data of a run: from settings to the data module that the Trainer gets."""

from types import ModuleType
from typing import Any

from pytorch_lightning import LightningDataModule, LightningModule

from gradclip.config.data import OwnDataSettings, SeriesSettings, TaskSettings
from gradclip.config.identity import data_digest
from gradclip.config.schema import TrainConfig
from gradclip.data.base import TrainingData
from gradclip.data.loaders import ShuffledBatchSampler
from gradclip.data.sequences import SequenceData
from gradclip.data.series import SeriesData
from gradclip.data.sources import SOURCES
from gradclip.data.tabular import TabularData
from gradclip.errors import ConfigError
from gradclip.models.module import SupervisedModule
from gradclip.training.own import as_data_module, build_own_data_module
from gradclip.training.own_data import OwnData

TEST_DECIDES = "the test examples decide when training ends, so their score looks better than it is"


def build_data(config: TrainConfig) -> TrainingData:
    """Generate or read the examples and batch them; add a note if test examples decide when training ends.

    Raises:
        GradclipError: the data cannot be read, or the table changed while it was read.
    """
    digest = data_digest(config)
    data = _read_data(config)
    data.digest = data_digest(config)
    if data.digest != digest:
        path = getattr(config.data, "path", None)
        raise ConfigError(f"data.path: got {path!r}; it changed while it was read; repeat the command")
    if _monitors_test(config, data):
        data.notes += (TEST_DECIDES,)
    return data


def _monitors_test(config: TrainConfig, data: TrainingData) -> bool:
    """Return whether test examples decide when training ends."""
    monitored = {one.arguments.get("monitor") for one in config.callbacks.values()}
    return data.score_scale.score.by_epoch("test") in monitored or (
        config.trainer.stop_when_solved and data.choosing_split == "test"
    )


def _read_data(config: TrainConfig) -> TrainingData:
    batches: dict[str, Any] = {"batch_size": config.trainer.batch_size, "seed": config.seed}
    match config.data:
        case OwnDataSettings():
            is_classification = config.loss is not None and config.loss.name == "cross_entropy"
            return OwnData(build_own_data_module(config.data), config.data.target, is_classification)
        case TaskSettings():
            return SequenceData(**config.data.model_dump(), **batches)
        case SeriesSettings():
            return SeriesData(**config.data.model_dump(exclude={"name"}), **batches)
        case _:
            of_batches = {"scale_inputs", "scale_target", "class_weights"}
            settings = config.data.model_dump(exclude={"name", *of_batches})
            batches |= config.data.model_dump(include=of_batches)
            return TabularData(SOURCES[config.data.name](**settings), **batches)


def build_data_module(data: TrainingData, module: LightningModule, package: ModuleType) -> LightningDataModule:
    """Return the data module that the Trainer gets.

    Args:
        data: the data.
        module: the module; one of ours is scored on every split, a user-defined one is validated on the choosing split.
        package: the Lightning package of the Trainer.
    """
    is_ours = isinstance(module, SupervisedModule)
    if isinstance(data, OwnData):
        scored = {"setup": data.setup, "val_dataloader": data.scored_loaders}
        return as_data_module(data.own, package, scored if is_ours else {})
    choosing = data.splits.index(data.choosing_split)
    hooks = {} if is_ours else {"val_dataloader": lambda: data.val_dataloader()[choosing]}
    return as_data_module(data, package, hooks)


def smallest_batch(data: TrainingData, processes: int) -> int:
    """Return the number of examples per process in an epoch's last batch; 0 if it is full, or its size not known."""
    sampler = None if isinstance(data, OwnData) else data.train_dataloader().sampler
    if not isinstance(sampler, ShuffledBatchSampler):
        return 0
    used = sampler.examples - sampler.examples % processes
    return used % sampler.batch_size // processes
