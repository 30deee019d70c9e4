"""How each job of a multirun ended: a file in its folder, whichever launcher ran it."""

import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from gradclip import keys
from gradclip.config.identity import fingerprint
from gradclip.errors import TrackingError
from gradclip.formatting import format_scores
from gradclip.scores import ChoosingSplit, Split, choosing_split, stored_score
from gradclip.tracking.files import failure_in_one_line, read_note, write_note
from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, result_of
from gradclip.tracking.records import Store
from gradclip.training.job import Job

if TYPE_CHECKING:
    from gradclip.tracking.stored_runs import StoredRun
    from gradclip.training.outcome import Summary
    from gradclip.training.result import Result

FILE = "result.json"


@dataclass(frozen=True)
class JobResult:
    """How a job ended: as a run, or with an error.

    Attributes:
        number: of the job.
        name: of its run, or its settings as they were typed.
        run_id: of its run; None where it has none in the store.
        outcome: how it ended.
        score: name of the score; empty without a run.
        scores: the final score on each kind of examples; NaN where the run diverged.
        solved: whether the problem was solved; None where nothing says when it is.
        clip_fraction: fraction of the steps that were clipped.
        higher_is_better: whether larger values of the score are better.
        error: why there is no run, in one line.
        done_before: whether an earlier command trained the run.
    """

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
    done_before: bool = False

    @property
    def choosing_split(self) -> ChoosingSplit:
        """The kind of examples by which the best of several jobs is chosen."""
        return choosing_split(self.scores)

    def score_on(self, split: Split) -> float:
        """Return the final score on one kind of examples; NaN where the run diverged, or there are none."""
        return self.scores.get(split, math.nan)

    @classmethod
    def of_run(cls, job: Job, result: "Result") -> "JobResult":
        """A run that finished."""
        return cls.of_summary(job, result.run.run_id if result.run else None, result.summary)

    @classmethod
    def of_summary(cls, job: Job, run_id: str | None, summary: "Summary") -> "JobResult":
        """A run that finished, of which only the summary was kept.

        Args:
            job: the job.
            run_id: of its run; None if it is not tracked.
            summary: of its training.
        """
        return cls(
            job.number,
            job.name,
            run_id,
            summary.outcome,
            summary.score.name,
            dict(summary.scores),
            summary.solved,
            summary.clip_fraction,
            summary.score.higher_is_better,
        )

    @classmethod
    def of_finished(cls, number: int, run: "StoredRun") -> "JobResult":
        """A run that an earlier command finished."""
        score = stored_score(run.metrics, run.tags)
        assert score is not None  # else it would not be a finished one
        return cls(
            number,
            f"{run.name} (done before)",
            run.run_id,
            run.tags[keys.OUTCOME],
            score.name,
            score.finals(run.metrics),
            {None: None, "true": True, "false": False}[run.tags.get(keys.SOLVED)],
            run.metrics.get(keys.GRAD_CLIP_FRACTION, math.nan),
            score.higher_is_better,
            done_before=True,
        )

    @classmethod
    def of_stop(cls, number: int, overrides: str, reason: str) -> "JobResult":
        """A job that was stopped, or did not begin.

        Args:
            number: of the job.
            overrides: its settings as they were typed.
            reason: what stopped it.
        """
        return cls(number, overrides, outcome="stopped", error=reason)

    @classmethod
    def of_failure(cls, number: int, overrides: str, reason: str) -> "JobResult":
        """A job that ended with an error.

        Args:
            number: of the job.
            overrides: its settings as they were typed.
            reason: the error, in one line.
        """
        return cls(number, overrides, error=reason)

    def write(self, folder: Path) -> None:
        """Write it into the job's folder, which is created if need be; where it cannot be written, the others go on."""
        with failure_in_one_line(folder / FILE):
            folder.mkdir(parents=True, exist_ok=True)
            write_note(folder / FILE, asdict(self), lasting=False)  # the command that reads it would be gone too


def find_finished(job: Job) -> JobResult | None:
    """The finished run with the same settings, where ``skip_finished`` asks for it; None if the job has to run."""
    if not (job.config.skip_finished and job.config.tracking.uri):
        return None
    found = result_of(ask(Store.of(job.config.tracking), Operations.find_finished_run, fingerprint(job.config)))
    return None if found is None else JobResult.of_finished(job.number, found)


def job_message(job: JobResult) -> str:
    """One line for a job that ended."""
    if job.error:
        return f"[{job.number}] {job.name}: {job.outcome}: {job.error}"
    return f"[{job.number}] {job.name}: {job.outcome}, {format_scores(job.score, job.scores)}"


def count_results(folder: Path) -> int:
    """How many jobs of a multirun have ended so far."""
    return sum(1 for _ in folder.glob(f"*/{FILE}"))


def read_results(folder: Path) -> list[JobResult]:
    """The results of all jobs of a multirun, in order; a job that could not write its own has failed.

    Raises:
        TrackingError: a file is damaged, or of another version.
    """
    results = [_read(path) for path in folder.glob(f"*/{FILE}")]
    without = {int(path.name) for path in folder.iterdir() if path.is_dir() and path.name.isdecimal()}
    without -= {result.number for result in results}
    results += [JobResult.of_failure(number, f"job {number}", "it left no result") for number in without]
    return sorted(results, key=lambda result: result.number)


def _read(path: Path) -> JobResult:
    note = read_note(path)
    if unknown := note.keys() - {known.name for known in fields(JobResult)}:
        raise TrackingError(f"{path}: is of another version, it has {min(unknown)}; train anew in another folder")
    return JobResult(**note)
