"""One Hydra job: from its composed config to a finished run, and what is told of it."""

import os
import shlex
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gradclip import keys
from gradclip.command import USER_ERRORS, describe, errors_in_one_line
from gradclip.config import TrainConfig, validate
from gradclip.errors import ConfigError, Interrupted
from gradclip.resuming import check_overrides, take_up
from gradclip.sweep.results import JobResult, tell_job
from gradclip.telling import tell_interrupted, tell_run
from gradclip.tracking.messages import Parent, StoppedRun, Store
from gradclip.tracking.worker import submit

if TYPE_CHECKING:
    from gradclip.pipeline import Result

INCIDENTAL = {"tracking", "hydra", "log_model", "figures"}  # change nothing in the training
SILENT = INCIDENTAL | {"clip", "seed", "sweep"}  # not part of what a run is called, or there anyway


def run_job(config: DictConfig) -> None:
    """Train as the config says and tell how it went."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        _run_one_of_many(config)
        return
    with errors_in_one_line(), _no_empty_folder():
        settings, stopped = validate(config), None
        if settings.resume is not None:
            check_overrides(HydraConfig.get().overrides.task)
            settings, stopped = take_up(settings.resume, settings.tracking)
        result = _train_or_stop(settings, stopped)
    if _is_main_process():
        print(tell_run(result, settings))


def _train_or_stop(config: TrainConfig, resumed: StoppedRun | None) -> "Result":
    """Train; once stopped, tell how to go on and exit as shells expect it."""
    try:
        return _train(config, parent=None, resumed=resumed)
    except Interrupted as stop:
        if not _is_main_process():
            raise SystemExit(0) from stop  # any other code would have Lightning kill the first process
        print(tell_interrupted(stop, HydraConfig.get().overrides.task))
        raise SystemExit(128 + stop.signal) from stop


@contextmanager
def _no_empty_folder() -> Iterator[None]:
    """Take away the folder that Hydra made for the run, where the run left nothing in it."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        yield
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


def _run_one_of_many(config: DictConfig) -> None:
    """Leave a note of how the job ended, for the closing table: whatever happens, the other jobs go on."""
    folder, number = Path(HydraConfig.get().runtime.output_dir), int(HydraConfig.get().job.num)
    overrides = " ".join(HydraConfig.get().overrides.task)
    try:
        result = _train(_for_multirun(validate(config)), _parent(folder.parent))
        note = JobResult.of_run(number, result)
    except USER_ERRORS as error:
        note = JobResult.of_failure(number, overrides, describe(error))
    except Exception as error:  # a bug, or a store that failed: its trace is shown, its reason noted
        traceback.print_exc()
        note = JobResult.of_failure(number, overrides, f"{type(error).__name__}: {error}")
    note.write(folder)
    print(tell_job(note), flush=True)


def _for_multirun(config: TrainConfig) -> TrainConfig:
    """Without a progress bar, since jobs may run side by side.

    Raises:
        ConfigError: the job would start processes that start the whole multirun again.
    """
    if config.trainer.strategy == "ddp":
        raise ConfigError("trainer.strategy: got 'ddp'; a job of a multirun trains in one process")
    return config.model_copy(update={"trainer": config.trainer.model_copy(update={"progress_bar": False})})


def _train(config: TrainConfig, parent: Parent | None, resumed: StoppedRun | None = None) -> "Result":
    if config.tracking.uri and _is_main_process():  # MLflow loads beside torch
        submit("open_store", Store.of(config.tracking))
    from gradclip.pipeline import Job, train

    overrides = list(HydraConfig.get().overrides.task)
    job = Job(
        name=resumed.name if resumed else run_name(config, overrides),
        folder=Path(resumed.folder if resumed else HydraConfig.get().runtime.output_dir),
        tags={} if resumed else {keys.COMMAND: shlex.join(["python", "src/train.py", *overrides])},
        parent=parent,
        is_main=_is_main_process(),
        resumed=resumed,
    )
    return train(config, job)


def _is_main_process() -> bool:
    """Lightning starts further processes of the same command with their rank in the environment."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def _parent(folder: Path) -> Parent:
    """The multirun that a job belongs to, called by what was typed."""
    typed = list(OmegaConf.load(folder / "multirun.yaml").hydra.overrides.task)
    command = shlex.join(["python", "src/train.py", "-m", *typed])
    telling = [override for override in typed if _setting(override).split(".")[0].split("/")[0] not in INCIDENTAL]
    return Parent(str(folder), " ".join(telling) or "multirun", {keys.COMMAND: command})


def run_name(config: TrainConfig, overrides: Sequence[str]) -> str:
    """Say what differs from the default run: the clipping, then whatever was overridden, then the seed."""
    differing = [_short(*override.lstrip("+").split("=", 1)) for override in overrides if _is_telling(override)]
    return " ".join([config.clip.label, *differing, f"seed={config.seed}"])


def _is_telling(override: str) -> bool:
    name = _setting(override)
    return "=" in override and name.split(".")[0] not in SILENT and name != "trainer.progress_bar"


def _setting(override: str) -> str:
    return override.lstrip("+~").split("=")[0]


def _short(name: str, value: str) -> str:
    return value if name == "experiment" else f"{name.rpartition('.')[2]}={value}"
