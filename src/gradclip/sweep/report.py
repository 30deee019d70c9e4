"""The end of a multirun: tables of its runs, its parent run closed, its exit code."""

import atexit
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from gradclip.sweep.results import JobResult, read_results
from gradclip.sweep.success import success_rates
from gradclip.telling import tell_score
from gradclip.tracking.messages import PARENT_FILE, Store
from gradclip.tracking.worker import result_of, submit

SCORE_TITLES = {"mse": "MSE", "accuracy": "accuracy"}


class Table(NamedTuple):
    """A table of text."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


class SweepReport(Callback):  # type: ignore[misc]  # Hydra is not typed
    """Hydra callback that closes a multirun, whichever launcher ran its jobs."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """See to it that an interrupted multirun does not leave its parent run open."""
        folder = Path(config.hydra.sweep.dir)
        atexit.register(lambda: close_parent(folder, "KILLED"))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the tables, store them with the parent run, and exit with 1 if a job failed."""
        folder = Path(config.hydra.sweep.dir)
        jobs = read_results(folder)
        failed = [job for job in jobs if job.error]
        tables = [run_table(jobs), *success_tables(jobs)]
        print_tables(tables)
        (folder / "runs.md").write_text("\n".join(map(to_markdown, tables)))
        close_parent(folder, "FAILED" if failed else "FINISHED")
        if failed:
            print(f"error: {len(failed)} of {len(jobs)} jobs failed; the table says why", file=sys.stderr)
            raise SystemExit(1)


def close_parent(folder: Path, status: str) -> None:
    """Store the tables and close the parent run, where a job created one and it is still open."""
    note = folder / PARENT_FILE
    if not note.exists():
        return
    parent = json.loads(note.read_text())
    note.unlink()
    store, tables = Store(**parent["store"]), folder / "runs.md"
    if tables.exists():
        submit("write_text", store, parent["run_id"], tables.read_text(), tables.name)
    result_of(submit("end_run", store, parent["run_id"], status))


def run_table(jobs: Sequence[JobResult]) -> Table:
    """One row for each job; a column for reasons only where a job failed."""
    scores = {SCORE_TITLES[job.score] for job in jobs if job.score}
    score = scores.pop() if len(scores) == 1 else "score"
    columns = ("job", "run", "outcome", f"train {score}", f"test {score}", "clipped", "reason")
    shown = len(columns) if any(job.error for job in jobs) else len(columns) - 1
    return Table(f"{len(jobs)} runs", columns[:shown], [_run_row(job)[:shown] for job in jobs])


def _run_row(job: JobResult) -> tuple[str, ...]:
    return (
        str(job.number),
        job.name,
        job.outcome,
        tell_score(job.score, job.score_train),
        tell_score(job.score, job.score_test),
        f"{job.clip_fraction:.0%}" if job.clip_fraction == job.clip_fraction else "",
        job.error,
    )


def success_tables(jobs: Sequence[JobResult]) -> list[Table]:
    """How often each setting solved its problem, where settings ran over several seeds."""
    rates = success_rates(jobs)
    if all(rate.runs == 1 for rate in rates):
        return []
    rows: list[tuple[str, ...]] = []
    for rate in rates:
        low, high = rate.interval()
        rows.append((rate.name, f"{rate.solved} of {rate.runs}", f"{low:.0%} to {high:.0%}"))
    return [Table("Solved", ("runs", "solved", "95% interval"), rows)]


def to_markdown(table: Table) -> str:
    """A table as Markdown."""
    lines = [table.columns, ("---",) * len(table.columns), *table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def print_tables(tables: Sequence[Table]) -> None:
    """The tables on the terminal."""
    from rich import table as rich_table
    from rich.console import Console

    for table in tables:
        drawn = rich_table.Table(title=table.title)
        for column in table.columns:
            number = column.startswith(("train", "test")) or column in {"clipped", "solved", "95% interval"}
            drawn.add_column(column, justify="right" if number else "left", overflow="fold")
        for row in table.rows:
            drawn.add_row(*row)
        console = Console()
        console.print(drawn, markup=False) if console.is_terminal else Console(width=140).print(drawn)
