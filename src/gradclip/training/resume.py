"""Resume a run that stopped: its config from the store, its checkpoint from its folder."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

from gradclip.config.identity import fingerprint
from gradclip.config.schema import TrainConfig
from gradclip.config.serialization import from_yaml
from gradclip.config.tracking import TrackingSettings
from gradclip.errors import ConfigError, TrackingError
from gradclip.tracking.operations import Operations
from gradclip.tracking.owner import RUN_LOCK, hold
from gradclip.tracking.process import ask, replay, result_of
from gradclip.tracking.records import CHECKPOINT_FILE, SPOOL_FILE, StoppedRun, Store
from gradclip.tracking.signature import signed_settings

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
        ConfigError: its config is damaged or not the one that it began with, or its table has changed.
        TrackingError: there is no such run, its folder is not here, or another command resumes it.
    """
    if tracking.uri is None:
        raise ConfigError(f"resume: got {which!r}; without a store (tracking.uri) there is no run to resume")
    store = Store.of(tracking)
    run = result_of(ask(store, Operations.find_stopped_run, os.environ.get(RESUMED, which)))
    os.environ[RESUMED] = run.run_id
    began_with = _settings_in_folder(run)
    if is_main and not hold(Path(run.folder, RUN_LOCK)):
        raise TrackingError(f"resume: got {which!r}; another command resumes it already")
    _check_checkpoint(Path(run.folder, CHECKPOINT_FILE))
    if Path(run.folder, SPOOL_FILE).exists():
        result_of(replay(run.folder))
        run = result_of(ask(store, Operations.find_stopped_run, run.run_id))
    config = from_yaml(run.config, tracking, "resume", run.data_digest, began_with)
    if fingerprint(config) != began_with:
        raise ConfigError(f"resume: got {which!r}; the stored config is not the one that the run began with")
    return config, run


def _settings_in_folder(run: StoppedRun) -> str:
    """The fingerprint of the settings in the signed note that a command of this user left in the run's folder."""
    settings = signed_settings(Path(run.folder), run.run_id)
    if settings is None:
        where = f"{run.folder or 'its folder'} on {run.host or 'an unknown machine'}"
        who = "only where its files are, by the user whose command began it"
        raise TrackingError(f"resume: got {run.run_id!r}; it can be resumed {who}: {where}")
    return settings


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
