"""Read the MLflow store, a page at a time. Runs in the tracking process."""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException

from gradclip import keys
from gradclip.errors import TrackingError, first_line
from gradclip.tracking.backend.connection import analyze, check_readable, client
from gradclip.tracking.records import Store
from gradclip.tracking.stored_runs import Curve, Selection, StoredRun

PAGE = 100  # runs read at a time: MLflow's own objects of a run take a hundred times what is kept of it
CONNECTIONS = 8  # to a server at a time
RUN_ID = re.compile(r"[0-9a-f]{32}")
FILTER = re.compile(r"[=<>]|\b(LIKE|ILIKE|IN|IS)\b", re.IGNORECASE)


def select_runs(store: Store, asked: str | Sequence[str] | None) -> Selection:
    """Find training runs.

    Args:
        store: where they are kept.
        asked: a filter as MLflow's search takes it, the name of an experiment, the id of a run or of the parent of a
            multirun, or several ids; None is the newest multirun of the store's experiment.

    Raises:
        TrackingError: there is no such store, experiment or run, or the filter cannot be read.
    """
    check_readable(store)
    analyze(store)
    if asked is None:
        asked = newest_multirun(store)
    if not isinstance(asked, str):
        return _selection([run for run_id in asked for run in _family(store, run_id)[0]], None, "a list")
    if RUN_ID.fullmatch(asked):
        family, parent = _family(store, asked)
        return _selection(family, asked if parent else None, parent or family[0].info.run_name)
    if FILTER.search(asked):
        return _selection(_search(store, store.experiment, asked), None, asked)
    return _selection(_search(store, asked, ""), None, f"experiment {asked}")


def newest_multirun(store: Store) -> str:
    """Return the id of the parent of the multirun that was started last.

    Raises:
        TrackingError: there is none.
    """
    nested = f"tags.`{keys.PARENT_RUN}` LIKE '%'"
    run = next(_search(store, store.experiment, nested, newest_first=True), None)
    if run is None:
        raise TrackingError(f"runs: experiment {store.experiment!r} has no multirun; give runs=...")
    return str(run.data.tags[keys.PARENT_RUN])


def newest_run(store: Store) -> StoredRun:
    """Return the training run that was started last.

    Raises:
        TrackingError: there is none.
    """
    check_readable(store)
    if client(store.uri).get_experiment_by_name(store.experiment) is None:
        raise TrackingError(f"tracking.experiment: got {store.experiment!r}; there is none of that name in {store.uri}")
    ended = f"tags.{keys.OUTCOME} LIKE '%'"
    run = next(_search(store, store.experiment, ended, newest_first=True), None)
    if run is None:
        raise TrackingError(f"tracking.experiment: got {store.experiment!r}; none of its runs has ended")
    return to_stored(run)


def read_run(store: Store, run_id: str) -> StoredRun:
    """Return one run.

    Raises:
        TrackingError: there is none of that id.
    """
    check_readable(store)
    return to_stored(_get_run(store, run_id, "run"))


def read_curves(store: Store, run_ids: Sequence[str], key: str, most: int) -> dict[str, Curve]:
    """Return a metric's history of each run that has one, thinned evenly to so many points at most."""
    read = client(store.uri).get_metric_history
    with ThreadPoolExecutor(CONNECTIONS if store.uri.startswith("http") else 1) as pool:
        histories = pool.map(lambda run_id: _curve(read(run_id, key), most), run_ids)
        return {run_id: curve for run_id, curve in zip(run_ids, histories, strict=True) if len(curve.step)}


def read_file(store: Store, run_id: str, name: str, folder: str) -> Path | None:
    """Fetch an artifact into a folder and return where it is; None if the run has none of that name."""
    parent = str(Path(name).parent)
    if name not in {entry.path for entry in client(store.uri).list_artifacts(run_id, parent)}:
        return None
    return Path(client(store.uri).download_artifacts(run_id, name, folder))


def _family(store: Store, run_id: str) -> tuple[list[Run], str]:
    """The children of a run and its name, or the run itself and nothing."""
    run = _get_run(store, run_id)
    experiment = client(store.uri).get_experiment(run.info.experiment_id).name
    children = list(_search(store, experiment, f"tags.`{keys.PARENT_RUN}` = '{run_id}'"))
    return (children, str(run.info.run_name)) if children else ([run], "")


def _get_run(store: Store, run_id: str, setting: str = "runs") -> Run:
    try:
        return client(store.uri).get_run(run_id)
    except MlflowException as error:
        raise TrackingError(f"{setting}: got {run_id!r}; there is no such run in {store.uri}") from error


def _search(store: Store, experiment: str, condition: str, newest_first: bool = False) -> Iterator[Run]:
    found = client(store.uri).get_experiment_by_name(experiment)
    if found is None:
        raise TrackingError(f"runs: got {experiment!r}; neither a filter, nor an experiment of {store.uri}")
    order, token = [f"attributes.start_time {'DESC' if newest_first else 'ASC'}"], None
    while True:
        try:
            page = client(store.uri).search_runs([found.experiment_id], condition, 1, PAGE, order, token)
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            raise TrackingError(f"runs: got {condition!r}; {first_line(error)}") from error
        yield from page
        token = page.token
        if token is None:
            return


def _selection(runs: "Sequence[Run] | Iterator[Run]", parent: str | None, title: str) -> Selection:
    """Keep training runs: those with settings. The others are parents and comparisons."""
    training = {run.run_id: run for run in map(to_stored, runs) if run.parameters}
    ended = [run for run in training.values() if run.outcome and run.status == "FINISHED"]
    return Selection(ended, len(training) - len(ended), parent, title)


def to_stored(run: Run) -> StoredRun:
    """Keep of MLflow's run what is asked for."""
    start, end = run.info.start_time, run.info.end_time
    return StoredRun(
        run_id=run.info.run_id,
        name=run.info.run_name,
        parent=run.data.tags.get(keys.PARENT_RUN),
        status=run.info.status,
        seconds=(end - start) / 1000 if start and end else np.nan,
        parameters=dict(run.data.params),
        metrics=dict(run.data.metrics),
        tags={key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")},
    )


def _curve(history: Sequence[Metric], most: int) -> Curve:
    step = np.array([point.step for point in history], dtype=np.int64)
    value = np.array([point.value for point in history], dtype=np.float64)
    kept = np.argsort(step, kind="stable")
    kept = kept[np.isfinite(value[kept])]
    if len(kept) > most:
        kept = kept[np.linspace(0, len(kept) - 1, most).round().astype(int)]
    return Curve(step[kept], value[kept])
