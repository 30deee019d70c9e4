"""Results of the jobs of a multirun, each a file in the job's folder, for every launcher."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict

from gradclip import keys
from gradclip.config.error_messages import USER_ERRORS, describe
from gradclip.config.identity import fingerprint
from gradclip.formatting import format_scores
from gradclip.scores import ChoosingSplit, Split, choosing_split, stored_score
from gradclip.tracking.files import failure_in_one_line, read_note, sync_to_disk, whole_file
from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, result_of
from gradclip.tracking.records import Store
from gradclip.training.job import Job

if TYPE_CHECKING:
    from gradclip.tracking.run import TrackedRun
    from gradclip.tracking.stored_runs import StoredRun
    from gradclip.training.outcome import Summary

RESULT_FILE = "result.json"


@dataclass(frozen=True)
class JobResult:
    """The result of a job: a run or an error.

    Attributes:
        number: number of the job.
        name: name of its run; if its settings are invalid, the overrides that change training.
        run_id: id of its run; None if no run is in the store.
        outcome: outcome of its run, ``failed`` or ``stopped``.
        score: name of the score; empty without a run.
        scores: the final score on each split; NaN if the run diverged.
        solved: whether the problem was solved; None if the data set does not define that.
        clip_fraction: fraction of the steps that were clipped.
        higher_is_better: whether larger values of the score are better.
        error: why there is no run, in one line.
        refused: the first write of its run that the store refused for good, in one line; empty if there is none.
        done_before: whether an earlier command trained the run.
        is_stacked: whether the run was stacked with others.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")  # refuses the fields of another version

    number: int
    name: str
    run_id: str | None = None
    outcome: str = "failed"
    score: str = ""
    scores: dict[Split, float] = field(default_factory=dict)
    solved: bool | None = None
    clip_fraction: float = math.nan
    higher_is_better: bool = False
    error: str = ""
    refused: str = ""
    done_before: bool = False
    is_stacked: bool = False

    @property
    def title(self) -> str:
        """The name, with a note if an earlier command trained the run."""
        return f"{self.name} (done before)" if self.done_before else self.name

    @property
    def choosing_split(self) -> ChoosingSplit:
        """The split that chooses the best of several jobs."""
        return choosing_split(self.scores)

    def score_on(self, split: Split) -> float:
        """Return the final score on a split; NaN if the run diverged or there is no such split."""
        return self.scores.get(split, math.nan)

    @classmethod
    def of_run(cls, job: Job, run: "TrackedRun | None", summary: "Summary") -> "JobResult":
        """Return the result of a finished run.

        Args:
            job: the job.
            run: its run; None if it is not tracked.
            summary: summary of its training.
        """
        return cls(
            number=job.number,
            name=job.name,
            run_id=run.run_id if run else None,
            outcome=summary.outcome,
            score=summary.score.name,
            scores=dict(summary.scores),
            solved=summary.solved,
            clip_fraction=summary.clip_fraction,
            higher_is_better=summary.score.higher_is_better,
            refused=describe(run.refused) if run and run.refused else "",
        )

    @classmethod
    def of_finished(cls, job: Job, run: "StoredRun") -> "JobResult":
        """Return the result of a job whose run an earlier command finished."""
        score = stored_score(run.metrics, run.tags)
        assert score is not None  # every finished run has a score
        return cls(
            number=job.number,
            name=job.name,
            run_id=run.run_id,
            outcome=run.tags[keys.OUTCOME],
            score=score.name,
            scores=score.finals(run.metrics),
            solved=run.is_solved,
            clip_fraction=run.metrics.get(keys.GRAD_CLIP_FRACTION, math.nan),
            higher_is_better=score.higher_is_better,
            done_before=True,
        )

    def write(self, folder: Path) -> None:
        """Write the result to the job's folder; a failure is printed, so that the other jobs continue."""
        with failure_in_one_line(folder / RESULT_FILE):
            folder.mkdir(parents=True, exist_ok=True)
            with whole_file(folder / RESULT_FILE, lasting=False) as path:
                path.write_text(json.dumps(asdict(self)))
                sync_to_disk(path)  # so that it is complete after a power loss; syncing the folder too would take long


def find_finished(job: Job) -> JobResult | None:
    """Return the result of a finished run with the same settings, with ``skip_finished``; None if the job must run."""
    if not (job.config.skip_finished and job.config.tracking.uri):
        return None
    found = result_of(ask(Store.of(job.config.tracking), Operations.find_finished_run, fingerprint(job.config)))
    return None if found is None else JobResult.of_finished(job, found)


def failure_reason(error: Exception) -> str:
    """Return the reason of a failure, in one line if the user caused it."""
    return describe(error) if isinstance(error, USER_ERRORS) else f"{type(error).__name__}: {error}"


def end_job(result: JobResult, folder: Path) -> None:
    """Write the result of a job to its folder, and print it."""
    result.write(folder)
    print(job_message(result), flush=True)


def job_message(job: JobResult) -> str:
    """Return the line that is printed for an ended job."""
    if job.error:
        return f"[{job.number}] {job.name}: {job.outcome}: {job.error}"
    return f"[{job.number}] {job.title}: {job.outcome}, {format_scores(job.score, job.scores)}"


def refusals(jobs: Sequence[JobResult]) -> list[str]:
    """Return a line on the runs of which the store refused a write for good; no line if there are none.

    Example:
        >>> refusals([JobResult(0, "a"), JobResult(1, "b", refused="a file is too large")])
        ['the store refused a part of 1 of 2 runs: a file is too large']
    """
    refused = [job.refused for job in jobs if job.refused]
    return [f"the store refused a part of {len(refused)} of {len(jobs)} runs: {refused[0]}"] if refused else []


def count_results(folder: Path) -> int:
    """Return how many jobs of a multirun have ended so far."""
    return sum(1 for _ in folder.glob(f"*/{RESULT_FILE}"))


def read_results(folder: Path) -> list[JobResult]:
    """Return the results of all jobs of a multirun, in order; a job without a result has failed.

    Raises:
        TrackingError: a file is damaged or was written by another version.
    """
    results = [read_note(path, JobResult) for path in folder.glob(f"*/{RESULT_FILE}")]
    without = {int(path.name) for path in folder.iterdir() if path.is_dir() and path.name.isdecimal()}
    without -= {result.number for result in results}
    results += [JobResult(number, f"job {number}", error="it left no result") for number in without]
    return sorted(results, key=lambda result: result.number)
