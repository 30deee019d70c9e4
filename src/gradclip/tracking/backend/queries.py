"""Queries of a store, read page by page."""

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from sqlalchemy import Table

from gradclip import keys
from gradclip.errors import TrackingError, first_line
from gradclip.formatting import printable
from gradclip.scores import CONTEXTS, Split
from gradclip.tracking.backend.bulk_read import read_children, read_histories
from gradclip.tracking.backend.connection import RUN_ID, Connection, download
from gradclip.tracking.backend.database import analyze
from gradclip.tracking.backend.tables import tables_of
from gradclip.tracking.backend.writes import CONTEXT_TAG
from gradclip.tracking.stored_runs import Curve, Selection, StoredRun

OUTCOMES = ("learned", "stalled", "diverged", "finished")
CONNECTIONS = 8  # to a server at the same time
ROWS = re.compile(r'"num_rows": (\d{1,15})\b')  # in MLflow's profile of a data set
FILTER = re.compile(r"[=<>]|\b(LIKE|ILIKE|IN|IS)\b", re.IGNORECASE)


class Queries(Connection):
    """Queries of runs; see :class:`gradclip.tracking.operations.Operations`."""

    def select_runs(self, selector: str | Sequence[str] | None) -> Selection:
        """Find training runs.

        Args:
            selector: a filter of MLflow's search, the name of an experiment, the id of a run or of a parent run, or
                several ids; None selects the newest multirun of the store's experiment.

        Raises:
            TrackingError: there is no such store, experiment or run, or the filter is invalid.
        """
        self.check_readable()
        analyze(self.uri)
        if selector is None:
            selector = self._newest_multirun()
        if not isinstance(selector, str):
            return _select((run for run_id in selector for run in self._family(run_id)[0]), None, "a list")
        if RUN_ID.fullmatch(selector):
            family, parent = self._family(selector)
            return _select(family, selector if parent else None, parent or family[0].info.run_name or "")
        if FILTER.search(selector):
            return _select(self._search(self.store.experiment, selector), None, selector)
        return _select(self._search(selector, ""), None, f"experiment {selector}")

    def read_newest_runs(self, count: int) -> list[StoredRun]:
        """Return the last training runs that have ended, newest first.

        Runs that ``advise`` trained are skipped.

        Raises:
            TrackingError: there is none.
        """
        self.check_readable()
        experiment = self.store.experiment
        if self.client.get_experiment_by_name(experiment) is None:
            raise TrackingError(f"tracking.experiment: got {experiment!r}; there is no such experiment in {self.uri}")
        found = self._search(experiment, f"tags.{keys.OUTCOME} LIKE '%'", newest_first=True)
        parent_of = cache(self._parent_named)
        of_users = (run for run in found if not _has_purpose(parent_of(run.data.tags.get(keys.PARENT_RUN, ""))))
        runs = [*islice((run for run in map(to_stored_run, of_users) if run.outcome in OUTCOMES), count)]
        if not runs:
            raise TrackingError(f"tracking.experiment: got {experiment!r}; none of its runs has ended")
        return runs

    def read_run(self, run_id: str) -> StoredRun:
        """Return one run.

        Raises:
            TrackingError: there is no run with this id.
        """
        self.check_readable()
        return to_stored_run(self.get_run(run_id, "run"))

    def read_curves(self, run_ids: Sequence[str], key: str, max_points: int) -> dict[str, Curve]:
        """Return the history of a metric in each run that has it, thinned evenly to ``max_points``."""
        if tables := self._tables():
            histories = read_histories(self.uri, tables, run_ids, key)
        else:
            with ThreadPoolExecutor(CONNECTIONS if self.is_server else 1) as pool:
                read = pool.map(lambda run_id: self.client.get_metric_history(run_id, key), run_ids)
                found = zip(run_ids, read, strict=True)
                histories = {run_id: [(point.step, point.value) for point in points] for run_id, points in found}
        curves = {run_id: _to_curve(histories[run_id], max_points) for run_id in run_ids if run_id in histories}
        return {run_id: curve for run_id, curve in curves.items() if len(curve.step)}

    def _tables(self) -> dict[str, Table] | None:
        """Return the tables for bulk reads; None if runs are read one by one with MLflow's client."""
        return None if self.is_server else tables_of(self.uri)

    def read_file(self, run_id: str, name: str, folder: str) -> Path | None:
        """Download an artifact into a folder and return its path, or None if it does not exist."""
        return download(self.repository_of(run_id), name, folder)

    def _newest_multirun(self) -> str:
        """Return the id of the parent run of the newest multirun that ``advise`` did not train."""
        experiment, is_child = self.store.experiment, f"tags.`{keys.PARENT_RUN}` LIKE '%'"
        parent_of = cache(self._parent_named)
        for run in self._search(experiment, is_child, newest_first=True):
            parent = parent_of(run.data.tags[keys.PARENT_RUN])
            if parent is not None and not _has_purpose(parent):
                return str(parent.info.run_id)
        raise TrackingError(f"runs: experiment {experiment!r} has no multirun; set runs=...")

    def _family(self, run_id: str) -> tuple[list[Run], str]:
        """Return the children of a run and its name, or the run itself and an empty name."""
        run = self.get_run(run_id, "runs")
        experiment_id = run.info.experiment_id
        if tables := self._tables():
            children = read_children(self.uri, tables, experiment_id, run_id)
        else:
            children = [*self.search(experiment_id, f"tags.`{keys.PARENT_RUN}` = '{run_id}'")]
        return (children, str(run.info.run_name)) if children else ([run], "")

    def _parent_named(self, run_id: str) -> Run | None:
        """Return the run whose id is the value of a tag, which can hold anything; None if there is no such run."""
        if not RUN_ID.fullmatch(run_id):
            return None
        try:
            return self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _search(self, experiment: str, condition: str, newest_first: bool = False) -> Iterator[Run]:
        found = self.client.get_experiment_by_name(experiment)
        if found is None:
            raise TrackingError(f"runs: got {experiment!r}; it is neither a filter nor an experiment in {self.uri}")
        try:
            yield from self.search(found.experiment_id, condition, newest_first)
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            raise TrackingError(f"runs: got {condition!r}; {first_line(error)}") from error


def _has_purpose(parent: Run | None) -> bool:
    """Return whether ``advise`` trained a multirun, as probes or a confirmation."""
    return parent is not None and keys.PURPOSE in parent.data.tags


def _select(runs: Iterable[Run], parent: str | None, title: str) -> Selection:
    """Select training runs: those with settings. The others are parent runs and comparisons."""
    training = {run.run_id: run for run in map(to_stored_run, runs) if run.parameters}
    ended = [run for run in training.values() if run.outcome in OUTCOMES and run.status == "FINISHED"]
    return Selection(ended, len(training) - len(ended), parent, printable(title))


def to_stored_run(run: Run) -> StoredRun:
    """Convert MLflow's run to plain data; its texts, which anybody may have written, are made printable."""
    start, end = run.info.start_time, run.info.end_time
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    return StoredRun(
        run_id=run.info.run_id,
        name=printable(run.info.run_name or ""),
        parent=run.data.tags.get(keys.PARENT_RUN),
        status=run.info.status,
        seconds=(end - start) / 1000 if start and end else np.nan,
        parameters={printable(name): printable(value) for name, value in run.data.params.items()},
        metrics={printable(key): value for key, value in run.data.metrics.items()},
        tags={printable(key): printable(value) for key, value in tags.items()},
        rows=_rows(run),
    )


def _rows(run: Run) -> dict[Split, int]:
    """Return the number of rows of each split, if the store has it."""
    splits = {context: split for split, context in CONTEXTS.items()}
    found: dict[Split, int] = {}
    for one in run.inputs.dataset_inputs if run.inputs else ():
        known = ROWS.search(one.dataset.profile or "")
        for tag in one.tags:
            if known and tag.key == CONTEXT_TAG and tag.value in splits:
                found[splits[tag.value]] = int(known[1])
    return found


def _to_curve(history: Sequence[tuple[int, float]], max_points: int) -> Curve:
    """Return the finite points of a history, sorted by step and thinned evenly."""
    step = np.array([step for step, _ in history], dtype=np.int64)
    value = np.array([value for _, value in history], dtype=np.float64)
    kept = np.argsort(step, kind="stable")
    kept = kept[np.isfinite(value[kept])]
    if len(kept) > max_points:
        kept = kept[np.linspace(0, len(kept) - 1, max_points).round().astype(int)]
    return Curve(step[kept], value[kept])
