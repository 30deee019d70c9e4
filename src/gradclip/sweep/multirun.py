"""Runs and multiruns by what was typed: their names, the parent run, the settings of a job."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from omegaconf import OmegaConf

from gradclip import keys
from gradclip.config.schema import TrainConfig
from gradclip.errors import ConfigError
from gradclip.sweep.stopping import main_process
from gradclip.tracking.records import Parent

INCIDENTAL = {"tracking", "hydra", "log_model", "figures", "skip_finished"}  # change nothing in the training
SILENT = INCIDENTAL | {"seed", "sweep"}  # not part of what a run is called, or there anyway
IN_LABEL = {"clip", "clip.value", "clip.norm"}  # which every name begins with


def parent_of(folder: Path) -> Parent:
    """The multirun that a job belongs to, called by what was typed."""
    typed = list(OmegaConf.load(folder / "multirun.yaml").hydra.overrides.task)
    command = shlex.join(["python", "src/train.py", "-m", *typed])
    tags = {keys.COMMAND: command, keys.CREATION: uuid5(NAMESPACE_URL, str(folder)).hex, **main_process(folder)}
    telling = [override for override in typed if _setting(override).split(".")[0].split("/")[0] not in INCIDENTAL]
    return Parent(str(folder), " ".join(telling) or "multirun", tags)


def run_name(config: TrainConfig, overrides: Sequence[str]) -> str:
    """Say what differs from the default run: the clipping, then whatever was overridden, then the seed."""
    differing = [_short(*override.lstrip("+").split("=", 1)) for override in overrides if _is_telling(override)]
    return " ".join([config.clip.label, *differing, f"seed={config.seed}"])


def _is_telling(override: str) -> bool:
    name = _setting(override)
    return "=" in override and name.split(".")[0] not in SILENT and name not in IN_LABEL | {"trainer.progress_bar"}


def _setting(override: str) -> str:
    return override.lstrip("+~").split("=")[0]


def _short(name: str, value: str) -> str:
    return value if name == "experiment" else f"{name.rpartition('.')[2]}={value}"


def for_multirun(config: TrainConfig) -> TrainConfig:
    """A job's settings without a progress bar, since jobs may run side by side.

    Raises:
        ConfigError: the job would start processes that start the whole multirun again.
    """
    if config.trainer.strategy == "ddp":
        raise ConfigError("trainer.strategy: got 'ddp'; a job of a multirun trains in one process")
    return config.model_copy(update={"trainer": config.trainer.model_copy(update={"progress_bar": False})})
