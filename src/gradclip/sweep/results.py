"""The note that each job of a multirun leaves in its folder, whichever launcher ran it."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradclip import keys
from gradclip.formatting import format_scores

if TYPE_CHECKING:
    from gradclip.tracking.stored_runs import StoredRun
    from gradclip.training.pipeline import Result

FILE = "result.json"


@dataclass(frozen=True)
class JobResult:
    """How a job ended: as a run, or with an error."""

    number: int
    name: str
    run_id: str | None = None
    outcome: str = "failed"
    score: str = ""
    score_train: float = math.nan
    score_test: float = math.nan
    solved: bool | None = None
    clip_fraction: float = math.nan
    error: str = ""
    done_before: bool = False

    @classmethod
    def of_run(cls, number: int, result: "Result") -> "JobResult":
        """Note a finished run."""
        summary = result.summary
        return cls(
            number,
            result.name,
            result.run_id,
            summary.outcome,
            summary.score.name,
            summary.score_train,
            summary.score_test,
            summary.solved,
            summary.clip_fraction,
        )

    @classmethod
    def of_finished(cls, number: int, run: "StoredRun") -> "JobResult":
        """Note a run that was finished before."""
        score = next(score for score in keys.SCORES.values() if score.final_test in run.metrics)
        return cls(
            number,
            f"{run.name} (done before)",
            run.run_id,
            run.tags[keys.OUTCOME],
            score.name,
            run.metrics[score.final_train],
            run.metrics[score.final_test],
            {None: None, "true": True, "false": False}[run.tags.get(keys.SOLVED)],
            run.metrics.get(keys.GRAD_CLIP_FRACTION, math.nan),
            done_before=True,
        )

    @classmethod
    def of_stop(cls, number: int, overrides: str, reason: str) -> "JobResult":
        """Note a job that was stopped, or did not begin."""
        return cls(number, overrides, outcome="stopped", error=reason)

    @classmethod
    def of_failure(cls, number: int, overrides: str, reason: str) -> "JobResult":
        """Note a job that ended with an error."""
        return cls(number, overrides, error=reason)

    def write(self, folder: Path) -> None:
        """Write the note into the job's folder."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=2))


def job_message(job: JobResult) -> str:
    """Describe one job of a multirun in a line."""
    if job.error:
        return f"[{job.number}] {job.name}: {job.outcome}: {job.error}"
    return f"[{job.number}] {job.name}: {job.outcome}, {format_scores(job.score, job.score_train, job.score_test)}"


def read_results(folder: Path) -> list[JobResult]:
    """Read the notes of all jobs of a multirun, in order."""
    notes = [JobResult(**json.loads(path.read_text())) for path in folder.glob(f"*/{FILE}")]
    return sorted(notes, key=lambda note: note.number)
