"""The end of a multirun: print the tables of its runs, close the parent run, set the exit code."""

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from gradclip import keys
from gradclip.config.error_messages import USER_ERRORS, describe
from gradclip.config.overrides import as_typed, launcher_of
from gradclip.errors import ConfigError, GradclipError, RefusedWriteError, disk_errors
from gradclip.formatting import to_markdown, unsent_message
from gradclip.program import command_line
from gradclip.sweep.multirun import (
    PAGE_FILE,
    TABLES_FILE,
    check_earlier,
    close_parent,
    find_parent,
    launcher_classes,
    remove_results,
)
from gradclip.sweep.page import answer_of_comparison, answer_of_jobs, answer_of_search, page_of
from gradclip.sweep.results import JobResult, read_results, refusals
from gradclip.sweep.search.report import FIGURE, SEARCH_FOLDER, Report, print_report, read_report
from gradclip.sweep.stopping import listen, stopped_by
from gradclip.sweep.tables import run_table, success_tables
from gradclip.terminal import announce, print_lines, print_tables, standard_output
from gradclip.tracking import FULL_ERRORS
from gradclip.tracking.files import failure_in_one_line, write_note, write_whole
from gradclip.tracking.operations import Operations
from gradclip.tracking.owner import at_end
from gradclip.tracking.process import ask, deliver, result_of
from gradclip.tracking.sync import sync, unsent_below
from gradclip.tracking.views import open_pages

if TYPE_CHECKING:
    from gradclip.compare.summary import Comparison

MAX_ROWS = 30  # rows of the table of jobs on a terminal; the table of groups follows
ROUNDING_NOTE = (
    "Stacked runs differ from single runs by rounding errors, which grow if training is chaotic; see docs/many-runs.md"
)


class SweepReport(Callback):  # type: ignore[misc]  # Hydra is not typed
    """Hydra callback that ends a multirun, for every launcher."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Handle stop signals, and register the closing of the parent run for the end of the process."""
        folder, typed = Path(config.hydra.sweep.dir), as_typed(config.hydra.overrides.task)
        announce(f"Multirun: {' '.join(typed)}; loading PyTorch ...")
        with _exit_on_errors(folder):
            if "SlurmLauncher" in launcher_classes(config.hydra.launcher) and which("srun") is None:
                raise ConfigError("hydra/launcher=submitit_slurm: needs Slurm; its command srun was not found")
            check_earlier(folder, typed)
            listen(folder)
            remove_results(folder)
        at_end.callback(close_parent, folder, "KILLED")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the tables, store them with the parent run, and exit with code 1 if a job failed."""
        folder = Path(config.hydra.sweep.dir)
        with standard_output(), _exit_on_errors(folder):
            jobs, search, stop = read_results(folder), read_report(folder), stopped_by(folder)
            failed = sum(job.outcome == "failed" for job in jobs)
            _write_tables(folder, jobs, search)
            errors = refusals(jobs)
            errors += [describe(run.error) for run in sync(folder) if isinstance(run.error, RefusedWriteError)]
            status = "KILLED" if stop else "FAILED" if failed else "FINISHED"
            address = _end_parent_run(folder, jobs, search, config, status, errors)
            _print_places(folder, jobs, address)
            if failed:
                errors.append(f"{failed} of {len(jobs)} jobs failed; the table says why")
            _exit(jobs, errors, stop)


def _write_tables(folder: Path, jobs: Sequence[JobResult], search: Report | None) -> None:
    """Write the tables of the jobs to the folder of the multirun, and print them or, after a search, its report."""
    tables = [run_table(jobs), *success_tables(jobs)]
    if search is None:
        print_tables([run_table(jobs, MAX_ROWS), *tables[1:]])
    else:
        print_report(search)
    with failure_in_one_line(folder / TABLES_FILE):
        write_whole(folder / TABLES_FILE, "\n".join(map(to_markdown, tables)))


def _end_parent_run(
    folder: Path, jobs: Sequence[JobResult], search: Report | None, config: DictConfig, status: str, errors: list[str]
) -> str:
    """Compare the runs, write the page of the parent run and close it; return how to view the runs."""
    found, address = None, ""
    if search is None:
        with _error_in("the runs could not be compared", folder, errors):
            found = compare_jobs(folder, jobs, config)
        with _error_in("the comparison could not be stored", folder, errors):
            write_comparison(folder, found)
    with _error_in("the runs could not be read", folder, errors), failure_in_one_line(folder / PAGE_FILE):
        address = pages_of(folder)
        write_page(folder, jobs, search, found)
    with _error_in("the parent run is not complete", folder, errors):
        close_parent(folder, status)
    return address


def _print_places(folder: Path, jobs: Sequence[JobResult], address: str) -> None:
    """Print where the results are: files, figures, pages and, if the store has not accepted all writes, the spools."""
    if any(job.is_stacked for job in jobs):
        print_lines(ROUNDING_NOTE)
    print(f"Files: {folder}")
    for figure in (f"{keys.COMPARISON_FOLDER}/figures/{keys.COMPARISON_FIGURE}.*", f"{SEARCH_FOLDER}/{FIGURE}.*"):
        for path in folder.glob(figure):
            print(f"Figure: {path}")
    if address:
        print(f"See it: {address}")
    if unsent := unsent_below(folder):
        print(unsent_message(unsent, folder))


def _exit(jobs: Sequence[JobResult], errors: Sequence[str], stop: int | None) -> None:
    """Print the errors, and exit with the code that shells expect if the multirun was stopped or something failed."""
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if stop:
        done = sum(not job.error for job in jobs)
        how = "To continue, repeat the command with skip_finished=true"
        print(f"Stopped: {done} of {len(jobs)} jobs are done. {how}")
        raise SystemExit(128 + stop)
    if errors:
        raise SystemExit(1)


@contextmanager
def _error_in(what: str, folder: Path, errors: list[str]) -> Iterator[None]:
    """Add an error to those that are printed at the end, so that the parent run is closed in any case."""
    try:
        with disk_errors(folder):
            yield
    except Exception as error:
        if not isinstance(error, GradclipError):
            traceback.print_exc()
        errors.append(f"{what}: {describe(error)}")


@contextmanager
def _exit_on_errors(folder: Path) -> Iterator[None]:
    """Exit with code 2 on a user error, of which Hydra would only warn."""
    try:
        with disk_errors(folder):
            yield
    except USER_ERRORS as error:
        if FULL_ERRORS:
            traceback.print_exc()
        print(f"error: {describe(error)}", file=sys.stderr)
        raise SystemExit(2) from error


def write_page(folder: Path, jobs: Sequence[JobResult], search: Report | None, found: "Comparison | None") -> None:
    """Write the page of the parent run to the folder of the multirun.

    Args:
        folder: folder of the multirun.
        jobs: results of its jobs.
        search: report of the search; None if the multirun is not a search.
        found: comparison of its runs; None if they were not compared.
    """
    parent, waits = find_parent(folder), bool(unsent_below(folder))
    example = found.best.group.runs[0] if found else None
    if found is not None:
        answer = answer_of_comparison(found, folder)
    elif search is not None:
        answer = answer_of_search(search, folder)
    else:
        answer = answer_of_jobs(jobs, run_table(jobs, MAX_ROWS))
    scored = next((job.run_id for job in jobs if job.run_id and job.score), None)
    if parent is not None and example is None and scored and not waits:
        example = result_of(ask(parent.store, Operations.read_run, scored))
    page = page_of(answer, jobs, parent.run_id if parent else "", example)
    write_note(folder / PAGE_FILE, page._asdict())  # closing the parent run stores it


def pages_of(folder: Path) -> str:
    """Return how to view the runs of a multirun; empty if they are not tracked or wait for the store."""
    parent = find_parent(folder)
    if parent is None or unsent_below(folder):
        return ""
    return open_pages(parent.store.uri, result_of(ask(parent.store, Operations.open)))


def compare_jobs(folder: Path, jobs: Sequence[JobResult], config: DictConfig) -> "Comparison | None":
    """Compare the runs of a multirun, if several are tracked.

    If runs are spooled, there is no comparison, because it would leave them out.

    Args:
        folder: folder of the multirun.
        jobs: results of its jobs.
        config: config of the multirun, with the settings of figures.
    """
    run_ids = [job.run_id for job in jobs if job.run_id is not None]
    if len(run_ids) < 2:
        return None
    if unsent_below(folder):
        print(f"Not compared: some runs wait for the store. After they are sent, run: {command_line('compare')}")
        return None
    parent = find_parent(folder)
    if parent is None:
        return None
    from gradclip.compare.comparison import compare
    from gradclip.compare.report import print_findings

    chosen = run_ids if any(job.done_before for job in jobs) else parent.run_id
    own, figure_format = folder / keys.COMPARISON_FOLDER, str(config.figure_format)
    draw, overrides = bool(config.figures), config.hydra.overrides
    typed = [*as_typed(overrides.task), *launcher_of(overrides.hydra)]
    found = compare(parent.store, chosen, own, draw=draw, figure_format=figure_format, typed=typed)
    if any(len(one.errors) > 1 for one in found.summaries):
        print_findings(found)
    return found


def write_comparison(folder: Path, found: "Comparison | None") -> None:
    """Store the files of a comparison, if there is one, with the parent run of the multirun in a folder."""
    if found is not None and (parent := find_parent(folder)):
        files = folder / keys.COMPARISON_FOLDER
        result_of(deliver(parent.call(Operations.write_files, str(files), files.name)))
