"""The end of a multirun: a table of its runs, its parent run closed, its exit code."""

import atexit
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from gradclip.sweep.results import JobResult, read_results
from gradclip.telling import tell_score
from gradclip.tracking.messages import PARENT_FILE, Store
from gradclip.tracking.worker import result_of, submit


class SweepReport(Callback):  # type: ignore[misc]  # Hydra is not typed
    """Hydra callback that closes a multirun, whichever launcher ran its jobs."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """See to it that an interrupted multirun does not leave its parent run open."""
        folder = Path(config.hydra.sweep.dir)
        atexit.register(lambda: close_parent(folder, "KILLED"))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the table, store it with the parent run, and exit with 1 if a job failed."""
        folder = Path(config.hydra.sweep.dir)
        jobs = read_results(folder)
        failed = [job for job in jobs if job.error]
        print_table(jobs)
        (folder / "runs.md").write_text(to_markdown(jobs))
        close_parent(folder, "FAILED" if failed else "FINISHED")
        if failed:
            print(f"error: {len(failed)} of {len(jobs)} jobs failed; the table says why", file=sys.stderr)
            raise SystemExit(1)


def close_parent(folder: Path, status: str) -> None:
    """Store the table and close the parent run, where a job created one and it is still open."""
    note = folder / PARENT_FILE
    if not note.exists():
        return
    parent = json.loads(note.read_text())
    note.unlink()
    store, table = Store(**parent["store"]), folder / "runs.md"
    if table.exists():
        submit("write_text", store, parent["run_id"], table.read_text(), table.name)
    result_of(submit("end_run", store, parent["run_id"], status))


def to_rows(jobs: Sequence[JobResult]) -> list[tuple[str, ...]]:
    """One row of text for each job."""
    return [
        (
            str(job.number),
            job.name,
            job.outcome,
            tell_score(job.score, job.score_train),
            tell_score(job.score, job.score_test),
            f"{job.clip_fraction:.0%}" if job.clip_fraction == job.clip_fraction else "",
            job.error,
        )
        for job in jobs
    ]


def _columns(jobs: Sequence[JobResult]) -> tuple[str, ...]:
    return ("job", "run", "outcome", "train MSE", "test MSE", "clipped", "reason")[: 7 if _any_failed(jobs) else 6]


def _any_failed(jobs: Sequence[JobResult]) -> bool:
    return any(job.error for job in jobs)


def to_markdown(jobs: Sequence[JobResult]) -> str:
    """The table as Markdown."""
    columns = _columns(jobs)
    lines = [columns, ("---",) * len(columns), *(row[: len(columns)] for row in to_rows(jobs))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def print_table(jobs: Sequence[JobResult]) -> None:
    """The table on the terminal."""
    from rich.console import Console
    from rich.table import Table

    columns = _columns(jobs)
    table = Table(title=f"{len(jobs)} runs")
    for column in columns:
        table.add_column(column, justify="right" if "MSE" in column or column == "clipped" else "left", overflow="fold")
    for row in to_rows(jobs):
        table.add_row(*row[: len(columns)])
    console = Console()
    console.print(table, markup=False) if console.is_terminal else Console(width=140).print(table)
