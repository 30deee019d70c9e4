"""Training of several settings over several seeds, for probes and for the arms of a confirmation."""

import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from uuid import uuid4

from gradclip import keys
from gradclip.advise.arms import Arm
from gradclip.config.composition import compose_config
from gradclip.config.overrides import parent_run_name, seed_override, train_command
from gradclip.config.schema import TrainConfig
from gradclip.config.tracking import TrackingSettings
from gradclip.errors import Interrupted, TrackingError, TrainerError
from gradclip.formatting import unsent_message
from gradclip.sweep.multirun import end_parent, find_parent
from gradclip.sweep.replica_runs import ReplicaRuns
from gradclip.sweep.results import JobResult, read_results, refusals
from gradclip.sweep.stacked_jobs import train_stacked
from gradclip.sweep.stopping import ask_to_stop, listening, stopped_by
from gradclip.tracking.owner import MAIN_LOCK, owner_tags
from gradclip.tracking.records import Parent
from gradclip.tracking.sync import unsent_below
from gradclip.training.job import Job
from gradclip.training.pipeline import train

POINTS = 100  # stored points of each per-step curve
MAX_REPLICAS = 500  # replicas stacked at a time


def train_arms(arms: Sequence[Arm], seeds: range, tracking: TrackingSettings, folder: Path) -> dict[str, str]:
    """Train the arms of a confirmation, and return the name of each run's arm, by run id.

    Raises the errors of :func:`train_settings`.

    Args:
        arms: arms to train.
        seeds: seeds of each arm.
        tracking: where the runs are stored.
        folder: folder of the multirun.
    """
    run_ids = train_settings([arm.overrides for arm in arms], seeds, tracking, folder, keys.CONFIRMATION)
    return dict(zip(run_ids, [arm.name for arm in arms for _ in seeds], strict=True))


def train_settings(
    settings: Sequence[Sequence[str]], seeds: range, tracking: TrackingSettings, folder: Path, purpose: str
) -> list[str]:
    """Train several settings over several seeds as a multirun, stacked if possible.

    Args:
        settings: overrides of each training run.
        seeds: seeds of each training run, one run per seed.
        tracking: where the runs are stored.
        folder: folder of the multirun.
        purpose: value of a tag; runs with this tag are never "the last run".

    Returns:
        The ids of the runs, all seeds of the first settings first.

    Raises:
        TrainerError: a run failed.
        TrackingError: the store has not accepted all writes.
        SystemExit: the process received Ctrl-C or SIGTERM.
    """
    folder.mkdir(parents=True)
    jobs = _jobs(settings, seeds, tracking, folder, purpose)
    with listening(folder):
        _train_and_close(jobs, folder)
    if stop := stopped_by(folder):
        raise SystemExit(128 + stop)
    results = read_results(folder)
    if failed := [result for result in results if result.error]:
        raise TrainerError(f"{failed[0].name}: failed: {failed[0].error}")
    for line in refusals(results):
        print(f"error: {line}", file=sys.stderr)
    if unsent := unsent_below(folder):
        raise TrackingError(unsent_message(unsent, folder))
    return [str(result.run_id) for result in results]


def _train_and_close(jobs: Sequence[Job], folder: Path) -> None:
    """Train the jobs of a multirun, and close its parent run even after an error."""
    runs = ReplicaRuns(POINTS, keep_all=False, lock=folder.absolute() / MAIN_LOCK)
    try:
        for job in train_stacked(jobs, runs, MAX_REPLICAS):
            trained = train(job)
            JobResult.of_run(job, trained.run, trained.summary).write(job.folder)
    except Interrupted as stop:
        ask_to_stop(folder, stop.signal)
    finally:
        results = read_results(folder)
        is_done = len(results) == len(jobs) and not any(result.error for result in results)
        if parent := find_parent(folder):
            end_parent(parent, "KILLED" if stopped_by(folder) else "FINISHED" if is_done else "FAILED")


def _jobs(
    settings: Sequence[Sequence[str]], seeds: range, tracking: TrackingSettings, folder: Path, purpose: str
) -> list[Job]:
    """Return the jobs of a multirun; the arguments are those of :func:`train_settings`."""
    shared = [override for override in settings[0] if all(override in overrides for overrides in settings)]
    typed = [*shared, *seed_override(seeds)]
    tags = {keys.CREATION: uuid4().hex, keys.PURPOSE: purpose, **owner_tags(folder.absolute() / MAIN_LOCK)}
    if len(settings) == 1:  # several settings have no single command
        tags[keys.COMMAND] = train_command(typed, multirun=True)
    parent = Parent(str(folder), f"{purpose}: {parent_run_name(typed)}", tags)
    configs = [(overrides, _quiet(compose_config(overrides), tracking)) for overrides in settings]
    return [
        Job(
            config.model_copy(update={"seed": seed}), (*overrides, f"seed={seed}"), folder / str(number), number, parent
        )
        for number, ((overrides, config), seed) in enumerate(product(configs, seeds))
    ]


def _quiet(config: TrainConfig, tracking: TrackingSettings) -> TrainConfig:
    """Return the config with the given store, and without figures, stored models and progress bar."""
    trainer = config.trainer.model_copy(update={"progress_bar": False})
    return config.model_copy(update={"figures": False, "log_model": False, "trainer": trainer, "tracking": tracking})
