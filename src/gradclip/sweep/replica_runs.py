"""Stacked replicas as tracked runs: what is written of each, and figures and models of the best and the worst."""

import tempfile
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from tqdm import tqdm

from gradclip import keys
from gradclip.config.error_messages import USER_ERRORS, describe
from gradclip.config.schema import TrainConfig
from gradclip.config.serialization import flatten
from gradclip.data.base import TrainingData
from gradclip.sweep.curves import curves_of
from gradclip.sweep.results import JobResult
from gradclip.telemetry.record import GradientRecord
from gradclip.tracking.owner import owner_tags
from gradclip.tracking.process import result_of, submit
from gradclip.tracking.records import Call, EndOfRun, StartedRun, StartOfRun, Store, now
from gradclip.training.figures import draw_figures
from gradclip.training.model_package import package_model
from gradclip.training.outcome import Summary
from gradclip.training.pipeline import Job, Result, datasets, run_tags, to_yaml, write_report, write_telemetry
from gradclip.training.result import Trained


@dataclass(frozen=True)
class ReplicaRun:
    """A trained replica on its way to the store.

    Attributes:
        number: of the job.
        config: its settings.
        job: its name, folder and tags.
        trained: what its training left behind.
        summary: the judgement of it.
        run_id: its id in the store; None where it has none.
        writes: what the store was asked to do, besides.
    """

    number: int
    config: TrainConfig
    job: Job
    trained: Trained
    summary: Summary
    run_id: str | None
    writes: "list[Future[Any]]"

    @cached_property
    def normalized_score(self) -> float:
        """How good it is on the test examples; a diverged one is the worst."""
        gain = self.trained.data.score_scale.normalized(self.summary.score_test)
        return gain if np.isfinite(gain) else -np.inf

    def write(self, function_name: str, *arguments: Any) -> None:
        """Have the store do something more to the run."""
        if self.run_id:
            call = Call(Store.of(self.config.tracking), function_name, self.run_id, arguments, str(self.job.folder))
            self.writes.append(submit("deliver", call))


@dataclass
class ReplicaRuns:
    """Write runs as their trainings begin and end.

    Attributes:
        points: of each per-step curve in the store.
        keep_all: whether every run keeps figures and model, or only the best and the worst.
    """

    points: int
    keep_all: bool
    _begun: dict[int, tuple[TrainConfig, Job, "Future[StartedRun] | None"]] = field(default_factory=dict)
    _pending: list[ReplicaRun] = field(default_factory=list)
    _best: ReplicaRun | None = None
    _worst: ReplicaRun | None = None
    _told: set[tuple[Store, str]] = field(default_factory=set)

    def begin(self, number: int, config: TrainConfig, job: Job, data: TrainingData) -> None:
        """Have the store begin the run of a training that begins."""
        self._begun[number] = config, job, self._submit_start(config, job, data) if config.tracking.uri else None

    def end(self, number: int, trained: Trained, end: int) -> None:
        """Write the files of a training, and have the store complete its run; it ended then, in ms since 1970."""
        config, job, begun = self._begun[number]
        job.folder.mkdir(parents=True, exist_ok=True)
        summary = trained.summary()
        write_report(job.folder, trained.explosion())
        write_telemetry(job.folder, trained)
        (job.folder / keys.CONFIG_FILE).write_text(to_yaml(config))
        if self.keep_all and config.figures:
            draw_figures(job.folder / keys.FIGURES_FOLDER, config, trained, summary)
        writes = [self._submit_end(config, job, begun, trained, summary, end)] if begun else []
        run = ReplicaRun(number, config, job, trained, summary, _id_of(begun), writes)
        del self._begun[number]
        if self.keep_all:
            _write_model(run)
        else:
            self._best = max(filter(None, (self._best, run)), key=lambda one: one.normalized_score)
            self._worst = min(filter(None, (self._worst, run)), key=lambda one: one.normalized_score)
        self._pending.append(replace(run, trained=_without_record(trained)))

    def abandon(self, status: str) -> list[int]:
        """Close the runs of all trainings that have not ended, as FAILED or KILLED; return the jobs' numbers."""
        for config, job, begun in self._begun.values():
            if run_id := _id_of(begun):
                submit("deliver", Call(Store.of(config.tracking), "end_run", run_id, (status, now()), str(job.folder)))
        numbers = list(self._begun)
        self._begun.clear()
        return numbers

    def finish(self) -> None:
        """Draw and store what is kept of the best and the worst, and wait until all is written."""
        for run in {run.number: run for run in (self._best, self._worst) if run}.values():
            if run.config.figures:
                draw_figures(run.job.folder / keys.FIGURES_FOLDER, run.config, run.trained, run.summary)
                run.write("write_files", str(run.job.folder / keys.FIGURES_FOLDER), keys.FIGURES_FOLDER)
            _write_model(run)
        for run in tqdm(self._pending, desc="Storing", unit=" runs"):
            _note(run).write(run.job.folder)

    def _submit_start(self, config: TrainConfig, job: Job, data: TrainingData) -> "Future[StartedRun]":
        store = Store.of(config.tracking)
        rows = config.data.model_dump_json()
        if (store, rows) not in self._told:
            submit("remember_datasets", store, rows, datasets(data))
            self._told.add((store, rows))
        own = {keys.FOLDER: str(job.folder), keys.CREATION: uuid4().hex}
        tags = job.tags | run_tags(config) | own | owner_tags()
        run = StartOfRun(job.name, tags, job.parent, now(), flatten(config), rows, str(job.folder))
        return submit("start_run", store, run)

    def _submit_end(
        self, config: TrainConfig, job: Job, begun: "Future[StartedRun]", trained: Trained, summary: Summary, end: int
    ) -> "Future[Any]":
        """Complete a run, or give back what could not even begin."""
        if begun.exception():
            return begun
        curves = curves_of(trained.record, summary.score, trained.curves, self.points)
        run = EndOfRun(end, now(), curves, summary.metrics(), summary.tags(), str(job.folder))
        return submit("complete_run", Store.of(config.tracking), begun.result(), run)


def _note(run: ReplicaRun) -> JobResult:
    """How a job ended, once its run is written."""
    try:
        for write in run.writes:
            result_of(write)
    except USER_ERRORS as error:
        return JobResult.of_failure(run.number, run.job.name, describe(error))
    except Exception as error:
        return JobResult.of_failure(run.number, run.job.name, f"{type(error).__name__}: {error}")
    return JobResult.of_run(run.number, Result(run.job.name, None, run.run_id, run.job.folder, run.summary, None))


def _id_of(begun: "Future[StartedRun] | None") -> str | None:
    """The id of a run, where it could begin."""
    return begun.result().run_id if begun and not begun.exception() else None


def _write_model(run: ReplicaRun) -> None:
    if not run.config.log_model or run.summary.outcome == "diverged" or not run.run_id:
        return
    with tempfile.TemporaryDirectory() as scratch:
        data, network = run.trained.data, run.trained.network
        files = package_model(Path(scratch), network, run.trained.description, data.schema, data.shape)
        run.write("write_model", files)
        wait(run.writes)  # for the store to have read the scratch files


def _without_record(trained: Trained) -> Trained:
    """Without what takes memory: thousands of runs wait for the store."""
    return replace(trained, record=GradientRecord.empty(trained.record.names), hidden=None)
