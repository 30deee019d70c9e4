"""Resume a run that stopped: its config from the store, its checkpoint from its folder."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

from gradclip.config.schema import TrainConfig
from gradclip.config.serialization import data_digest, from_yaml
from gradclip.config.tracking import TrackingSettings
from gradclip.errors import ConfigError, TrackingError
from gradclip.tracking.operations import Operations
from gradclip.tracking.owner import RUN_LOCK, hold
from gradclip.tracking.process import ask, replay, result_of
from gradclip.tracking.records import CHECKPOINT_FILE, SPOOL_FILE, StoppedRun, Store
from gradclip.tracking.signature import is_folder_of

RESUMED = "GRADCLIP_RESUMED"  # environment variable: the run, for further processes of a command, which read it later


def check_overrides(overrides: Sequence[str]) -> None:
    """Refuse settings beside ``resume``: a run goes on with its own.

    Raises:
        ConfigError: with the first that is not about tracking.
    """
    for override in overrides:
        if not override.lstrip("+~").startswith(("resume=", "tracking=", "tracking.")):
            raise ConfigError(f"resume: got {override} too; a run resumes as it was set, only tracking can be given")


def find_stopped(which: str, tracking: TrackingSettings, is_main: bool = True) -> tuple[TrainConfig, StoppedRun]:
    """Find a run that stopped, and its settings, and claim it for this process.

    Args:
        which: its id, or ``last``.
        tracking: where it is; all other settings are the run's own.
        is_main: whether this process resumes it; of several that train together only the first does.

    Raises:
        ConfigError: its config is damaged, names a model that is not trusted, or its table has changed.
        TrackingError: there is no such run, its folder is not here, or another command resumes it.
    """
    if tracking.uri is None:
        raise ConfigError(f"resume: got {which!r}; without a store (tracking.uri) there is no run to resume")
    store = Store.of(tracking)
    run = result_of(ask(store, Operations.find_stopped_run, os.environ.get(RESUMED, which)))
    os.environ[RESUMED] = run.run_id
    _check_folder(run)
    if is_main and not hold(Path(run.folder, RUN_LOCK)):
        raise TrackingError(f"resume: got {which!r}; another command resumes it already")
    _check_checkpoint(Path(run.folder, CHECKPOINT_FILE))
    if Path(run.folder, SPOOL_FILE).exists():
        result_of(replay(run.folder))
        run = result_of(ask(store, Operations.find_stopped_run, run.run_id))
    config = from_yaml(run.config, tracking, "resume")
    if run.data_digest and data_digest(config) != run.data_digest:
        changed = getattr(config.data, "path", None)
        raise ConfigError(f"resume: got {which!r}; {changed} has changed since the run began: train anew")
    return config, run


def _check_folder(run: StoppedRun) -> None:
    """Refuse a folder that is not the run's own: a command of this user left a signed note there."""
    if not is_folder_of(Path(run.folder), run.run_id):
        where = f"{run.folder or 'its folder'} on {run.host or 'an unknown machine'}"
        who = "only where its files are, by the user whose command began it"
        raise TrackingError(f"resume: got {run.run_id!r}; it can be resumed {who}: {where}")


def _check_checkpoint(path: Path) -> None:
    """Refuse a checkpoint that was cut short or damaged, of which torch would say so in many ways."""
    if not path.exists():
        return
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip() is not None
    except (zipfile.BadZipFile, OSError, EOFError):
        damaged = True
    if damaged:
        raise TrackingError(f"{path}: the checkpoint is damaged; remove it, and the same command begins the run again")
