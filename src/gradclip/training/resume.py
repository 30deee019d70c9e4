"""Take up a run that stopped: its config from the store, its checkpoint from its folder."""

import json
import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from gradclip.config.schema import TrainConfig
from gradclip.config.tracking import TrackingSettings
from gradclip.config.validation import check
from gradclip.errors import ConfigError, TrackingError
from gradclip.tracking.process import result_of, submit
from gradclip.tracking.records import RUN_FILE, SPOOL_FILE, StoppedRun, Store

RESUMED = "GRADCLIP_RESUMED"  # tells further processes of a command, which read the store later, the run


def check_overrides(overrides: Sequence[str]) -> None:
    """Refuse settings beside ``resume``: a run goes on as it was set.

    Raises:
        ConfigError: with the first that is not about tracking.
    """
    for override in overrides:
        if not override.lstrip("+~").startswith(("resume=", "tracking=", "tracking.")):
            raise ConfigError(f"resume: got {override} too; a run goes on as it was set, only tracking can be given")


def take_up(which: str, tracking: TrackingSettings) -> tuple[TrainConfig, StoppedRun]:
    """Find a run that stopped, and the settings that it had.

    Args:
        which: its id, or ``last``.
        tracking: where it is; the rest of its settings are its own.

    Raises:
        ConfigError: its config is not one, or names a model that is not trusted.
        TrackingError: there is no such run, or its folder is not here.
    """
    if tracking.uri is None:
        raise ConfigError(f"resume: got {which!r}; without a store (tracking.uri) there is no run to take up")
    store = Store.of(tracking)
    run: StoppedRun = result_of(submit("find_run", store, os.environ.get(RESUMED, which)))
    os.environ[RESUMED] = run.run_id
    _check_folder(run)
    if Path(run.folder, SPOOL_FILE).exists():
        result_of(submit("replay", run.folder))
        run = result_of(submit("find_run", store, run.run_id))
    return read_config(run.config, tracking), run


def read_config(text: str, tracking: TrackingSettings) -> TrainConfig:
    """Turn a config from the store into settings: data, not a program.

    Args:
        text: YAML.
        tracking: takes the place of what was stored.

    Raises:
        ConfigError: it is no config, or names a model that is not trusted.
    """
    try:
        stored = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError("resume: the stored config is not YAML") from error
    if not isinstance(stored, dict):
        raise ConfigError("resume: the stored config is not a mapping")
    config = check(TrainConfig, {**stored, "tracking": tracking.model_dump()})
    target = config.model.target
    if not any(fnmatchcase(target, pattern) for pattern in tracking.trusted_models):
        trusted = ", ".join(tracking.trusted_models)
        raise ConfigError(f"tracking.trusted_models: the stored config names {target!r}; only {trusted} are trusted")
    return config


def _check_folder(run: StoppedRun) -> None:
    """See to it that the folder that the store names is the run's own: a run of this machine left its note there."""
    note = Path(run.folder, RUN_FILE)
    if not note.is_file() or json.loads(note.read_text()).get("run_id") != run.run_id:
        where = f"{run.folder or 'its folder'} on {run.host or 'an unknown machine'}"
        raise TrackingError(f"resume: got {run.run_id!r}; it can be taken up only where its files are: {where}")
