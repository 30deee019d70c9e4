"""Tracked runs of stacked replicas; by default only the best and the worst have figures and a model."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from gradclip import keys
from gradclip.data.base import TrainingData
from gradclip.sweep.curves import curves_of
from gradclip.sweep.results import JobResult, failure_reason
from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, result_of
from gradclip.tracking.records import DatasetDescription, RunEnd, Store, now
from gradclip.tracking.run import TrackedRun, begin_together, complete_together
from gradclip.tracking.scratch import scratch_folder
from gradclip.training.artifacts import datasets_of, describe_run, make_run, remove_results, write_result
from gradclip.training.description import end_tags
from gradclip.training.figures import draw_figures
from gradclip.training.job import Job
from gradclip.training.model_package import package_model
from gradclip.training.outcome import Summary
from gradclip.training.result import Result

T = TypeVar("T")
WRITER_THREADS = 4  # encoding releases the GIL, and disk writes overlap
RUNS_PER_TRANSACTION = 200  # many share its cost, and other processes write in between


@dataclass(frozen=True)
class FinishedReplica:
    """A trained replica; ``result`` is kept because figures and a model may still be made from it."""

    job: Job
    run: TrackedRun | None
    result: Result

    @property
    def normalized_score(self) -> float:
        """The normalized score on the choosing split; negative infinity if diverged."""
        scores, split = self.result.summary.scores, self.result.summary.choosing_split
        score = self.result.score_scale.normalized(scores[split], split)
        return score if np.isfinite(score) else -np.inf


class ReplicaRuns:
    """The runs of all replicas of a multirun.

    Args:
        points: approximate number of points stored for each per-step curve.
        keep_all: whether every run has figures and a model, or only the best and the worst.
        lock: lock file that this process holds while it trains the replicas.
    """

    def __init__(self, points: int, keep_all: bool, lock: Path) -> None:
        self.points, self.keep_all, self.lock = points, keep_all, lock
        self._begun: dict[int, tuple[Job, TrackedRun | None]] = {}  # by number of the job
        self._finished: list[tuple[Job, TrackedRun | None, Summary]] = []
        self._best: FinishedReplica | None = None
        self._worst: FinishedReplica | None = None
        self._datasets: dict[tuple[Store, str], Future[Sequence[DatasetDescription]]] = {}

    def begin(self, trainings: Sequence[tuple[Job, TrainingData]]) -> None:
        """Create the runs of replicas that start, from their jobs and data."""
        self._begun.update((job.number, (job, None)) for job, _ in trainings)  # no job is lost if a run fails to begin
        for some in _batches(trainings):
            runs: dict[int, tuple[Job, TrackedRun | None]] = {}
            begun = []
            for job, data in some:
                run = make_run(job, data, self.lock) if job.config.tracking.uri else None
                runs[job.number] = job, run
                remove_results(job.folder)
                if run is not None:
                    begun.append((run, describe_run(job, self._descriptions(run.store, job, data))))
            begin_together(begun)
            self._begun |= runs

    def end(self, results: Iterable[tuple[int, Result]], end_time: int) -> None:
        """Write the files of replicas that ended at the same time, and complete their runs.

        The results come with the numbers of the jobs; the time is in milliseconds since 1970.
        """
        with ThreadPoolExecutor(WRITER_THREADS) as writers:
            for some in _batches(results):
                written = [self._write_files(writers, number, result) for number, result in some]
                ended: list[tuple[FinishedReplica, RunEnd]] = []
                try:
                    for (number, result), files in zip(some, written, strict=True):
                        files.result()  # raises if the disk is full, which must not lose the runs before this one
                        ended.append(self._end_replica(number, result, end_time))
                finally:
                    complete_together([(replica.run, run_end) for replica, run_end in ended if replica.run])
                if self.keep_all:
                    _write_models([replica for replica, _ in ended])

    def _write_files(self, writers: Executor, number: int, result: Result) -> "Future[None]":
        result.explosion  # noqa: B018  # computed once, before two threads use it
        return writers.submit(write_result, self._begun[number][0], result)

    def _end_replica(self, number: int, result: Result, end_time: int) -> tuple[FinishedReplica, RunEnd]:
        """Draw the figures of a replica, if all replicas have them; return it with what its run ends with."""
        job, run = self._begun[number]
        summary, config = result.summary, job.config
        if self.keep_all and config.figures:
            draw_figures(job, result)
        curves = curves_of(result.record, summary.score, result.curves, self.points)
        run_end = RunEnd(curves, summary.metrics(), end_tags(config, result), end_time, now())
        del self._begun[number]
        finished = FinishedReplica(job, run, result)
        if not self.keep_all:
            self._best = max(filter(None, (self._best, finished)), key=lambda one: one.normalized_score)
            self._worst = min(filter(None, (self._worst, finished)), key=lambda one: one.normalized_score)
        self._finished.append((job, run, summary))
        return finished, run_end

    def abandon(self, status: str) -> list[Job]:
        """Close the runs of all unfinished replicas as FAILED or KILLED, and return their jobs."""
        jobs = []
        for job, run in self._begun.values():
            jobs.append(job)
            if run is not None:
                run.end(status, wait=False)
        self._begun.clear()
        return jobs

    def finish(self) -> None:
        """Store figures and models of the best and the worst, wait for all writes, and write the jobs' results."""
        with scratch_folder() as scratch, ThreadPoolExecutor(WRITER_THREADS) as writers:
            for replica in {one.job.number: one for one in (self._best, self._worst) if one}.values():
                if replica.job.config.figures:
                    draw_figures(replica.job, replica.result)
                    if replica.run is not None:
                        folder = str(replica.job.folder / keys.FIGURES_FOLDER)
                        replica.run.write(Operations.write_files, folder, keys.FIGURES_FOLDER)
                _write_model(replica, scratch / str(replica.job.number))
            bar = tqdm(self._finished, desc="Storing", unit=" runs", disable=None)
            # Results of stored runs are written while others are still being stored.
            notes = [writers.submit(_job_result(job, run, summary).write, job.folder) for job, run, summary in bar]
            for note in notes:
                note.result()

    def _descriptions(self, store: Store, job: Job, data: TrainingData) -> Sequence[DatasetDescription]:
        """Return the descriptions of a run's data sets, made once for all runs with the same data."""
        key = store, job.config.data.model_dump_json()
        if key not in self._datasets:
            self._datasets[key] = ask(store, Operations.describe_datasets, datasets_of(data))
        return result_of(self._datasets[key])


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield lists of the items that are written in one transaction."""
    iterator = iter(items)
    while block := list(islice(iterator, RUNS_PER_TRANSACTION)):
        yield block


def _job_result(job: Job, run: TrackedRun | None, summary: Summary) -> JobResult:
    """Wait until the run of a job is written, and return the result of the job."""
    try:
        if run is not None:
            run.wait()
        return replace(JobResult.of_run(job, run, summary), is_stacked=True)
    except Exception as error:
        return JobResult(job.number, job.name, error=failure_reason(error))


def _write_models(replicas: Sequence[FinishedReplica]) -> None:
    """Store the models of replicas, and wait until their runs are written."""
    with scratch_folder() as scratch:
        for replica in replicas:
            _write_model(replica, scratch / str(replica.job.number))
        for run in filter(None, (replica.run for replica in replicas)):
            with suppress(Exception):  # reported with the job's result
                run.wait()


def _write_model(replica: FinishedReplica, scratch: Path) -> None:
    """Store the model of a replica; the folder for its files may be removed once the run is written."""
    run, result = replica.run, replica.result
    if run is None or not replica.job.config.log_model or result.summary.outcome == "diverged":
        return
    assert result.network_arguments is not None  # a user-defined module is never stacked
    scratch.mkdir(exist_ok=True)
    files = package_model(scratch, result.network, result.network_arguments, result.data.schema)
    run.write(Operations.write_model, files)
