"""Resumption of a stopped run, with its config from the store and its checkpoint from its folder."""

import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

from gradclip.config.identity import fingerprint
from gradclip.config.overrides import is_of_tracking, setting_of
from gradclip.config.schema import TrainConfig
from gradclip.config.serialization import from_yaml
from gradclip.config.tracking import TrackingSettings
from gradclip.errors import ConfigError, TrackingError
from gradclip.tracking.operations import Operations
from gradclip.tracking.owner import RUN_LOCK, hold
from gradclip.tracking.process import ask, replay, result_of
from gradclip.tracking.records import CHECKPOINT_FILE, SPOOL_FILE, StoppedRun, Store
from gradclip.tracking.signature import signed_settings

RESUMED = "GRADCLIP_RESUMED"  # environment variable with the run's id, read by further processes of the command


def check_overrides(overrides: Sequence[str]) -> None:
    """Check that only tracking is set together with ``resume``: a run resumes with its own settings.

    Raises:
        ConfigError: there is another setting.
    """
    for override in overrides:
        if setting_of(override) != "resume" and not is_of_tracking(override):
            raise ConfigError(f"resume: got {override} too; a run keeps its settings, only tracking can be set")


def find_stopped(which: str, tracking: TrackingSettings, is_main: bool = True) -> tuple[TrainConfig, StoppedRun]:
    """Find a stopped run and its settings, and lock it for this process.

    Args:
        which: id of the run, or ``last``.
        tracking: settings of the store; all other settings are the run's own.
        is_main: whether this process resumes the run; in distributed training, only the first does.

    Raises:
        ConfigError: the stored config is damaged or was changed, or the table that the run reads has changed.
        TrackingError: there is no such run, its folder is not on this machine, its checkpoint is damaged, or another
            command is resuming it.
    """
    if tracking.uri is None:
        raise ConfigError(f"resume: got {which!r}; without a store (tracking.uri) there is no run to resume")
    store = Store.of(tracking)
    run = result_of(ask(store, Operations.find_stopped_run, os.environ.get(RESUMED, which)))
    os.environ[RESUMED] = run.run_id
    began_with = _settings_in_folder(run)
    if is_main and not hold(Path(run.folder, RUN_LOCK)):
        raise TrackingError(f"resume: got {which!r}; another command is already resuming it")
    _check_checkpoint(Path(run.folder, CHECKPOINT_FILE))
    if Path(run.folder, SPOOL_FILE).exists():
        result_of(replay(run.folder))
        run = result_of(ask(store, Operations.find_stopped_run, run.run_id))
    config = from_yaml(run.config, tracking, "resume", run.data_digest, began_with)
    if fingerprint(config) != began_with:
        raise ConfigError(f"resume: got {which!r}; the stored config differs from the one that the run began with")
    return config, run


def _settings_in_folder(run: StoppedRun) -> str:
    """Return the fingerprint of the run's settings, from the file in its folder that this user's command signed."""
    settings = signed_settings(Path(run.folder), run.run_id)
    if settings is None:
        where = f"{run.folder or 'its folder'} on {run.host or 'an unknown machine'}"
        who = "only where its files are, by the user who started it"
        raise TrackingError(f"resume: got {run.run_id!r}; it can be resumed {who}: {where}")
    return settings


def _check_checkpoint(path: Path) -> None:
    """Check that a checkpoint can be loaded: ``zipfile`` checks its content, torch its structure."""
    if not path.exists():
        return
    import torch  # takes a second, and a mistake in the arguments should be reported sooner

    try:
        with zipfile.ZipFile(path) as file:
            if (name := file.testzip()) is not None:
                raise zipfile.BadZipFile(name)
        torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # both report damage by errors of many types
        refused = re.search(r"GLOBAL (\S+) was not an allowed", str(error))
        what = f"contains a {refused[1]}, which is not loaded for safety" if refused else "is damaged"
        raise TrackingError(f"{path}: the checkpoint {what}; remove it and repeat the command to start over") from error
