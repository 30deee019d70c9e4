"""Train a run's settings, changed, over several seeds: probes and the arms of a confirmation."""

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from gradclip import keys
from gradclip.config.composition import compose_config
from gradclip.config.overrides import multirun_name, seed_override, train_command
from gradclip.config.schema import TrainConfig
from gradclip.config.tracking import TrackingSettings
from gradclip.errors import TrackingError, TrainerError
from gradclip.formatting import unsent_message
from gradclip.sweep.multirun import ParentRun
from gradclip.sweep.replica_runs import ReplicaRuns
from gradclip.sweep.results import JobResult, read_results
from gradclip.sweep.stacked_jobs import train_stacked
from gradclip.sweep.stopping import listen, stopped_by
from gradclip.tracking.owner import MAIN_LOCK, owner_tags
from gradclip.tracking.records import Parent
from gradclip.tracking.sync import unsent_below
from gradclip.training.job import Job
from gradclip.training.pipeline import train

POINTS = 100  # of each per-step curve in the store
MAX_REPLICAS = 500  # that are stacked at a time


def train_seeds(overrides: Sequence[str], seeds: range, tracking: TrackingSettings, folder: Path) -> list[str]:
    """Train some overrides over several seeds, stacked where that is possible, as a multirun of their own.

    Args:
        overrides: what to train.
        seeds: one run each.
        tracking: where the runs are stored.
        folder: of the multirun.

    Returns:
        The ids of the runs, in the order of the seeds.

    Raises:
        TrainerError: a run failed.
        TrackingError: some of it waits for the store.
        SystemExit: Ctrl-C or SIGTERM came.
    """
    folder.mkdir(parents=True)
    listen(folder)
    jobs = _jobs(overrides, seeds, tracking, folder)
    runs = ReplicaRuns(POINTS, keep_all=False, lock=folder.absolute() / MAIN_LOCK)
    for job in train_stacked(jobs, runs, MAX_REPLICAS):
        JobResult.of_run(job, train(job)).write(job.folder)
    stop, results = stopped_by(folder), read_results(folder)
    failed = [result for result in results if result.error]
    if parent := ParentRun.of(folder):
        parent.close("KILLED" if stop else "FAILED" if failed else "FINISHED")
    if stop:
        raise SystemExit(128 + stop)
    if failed:
        raise TrainerError(f"{' '.join(overrides)}: failed: {failed[0].error}")
    if unsent := unsent_below(folder):
        raise TrackingError(unsent_message(unsent, folder))
    return [str(result.run_id) for result in results]


def _jobs(overrides: Sequence[str], seeds: range, tracking: TrackingSettings, folder: Path) -> list[Job]:
    typed = [*overrides, *seed_override(seeds)]
    tags = {
        keys.COMMAND: train_command(typed, multirun=True),
        keys.CREATION: uuid4().hex,
        **owner_tags(folder.absolute() / MAIN_LOCK),
    }
    parent = Parent(str(folder), multirun_name(typed), tags)
    config = _quiet(compose_config(overrides), tracking)
    return [
        Job(
            config.model_copy(update={"seed": seed}), (*overrides, f"seed={seed}"), folder / str(number), number, parent
        )
        for number, seed in enumerate(seeds)
    ]


def _quiet(config: TrainConfig, tracking: TrackingSettings) -> TrainConfig:
    """Without figures, models and progress bar, and with the store that is given."""
    trainer = config.trainer.model_copy(update={"progress_bar": False})
    return config.model_copy(update={"figures": False, "log_model": False, "trainer": trainer, "tracking": tracking})
