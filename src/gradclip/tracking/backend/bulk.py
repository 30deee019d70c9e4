"""Write runs in two goes, what is known before a training and what is known after it. Runs in the tracking process.

Each go takes few requests. Where the store is not well it is written call by call, as an ordinary run's:
every call can be repeated, is tried for a while, and waits beside the run then.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mlflow.entities import DatasetInput, LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlRun, SqlTag
from mlflow.tracking._tracking_service.utils import _get_store
from sqlalchemy import insert, update

from gradclip.errors import TrackingError
from gradclip.tracking import MAX_RETRIES
from gradclip.tracking.backend.connection import STORE_ERRORS, client, open_store
from gradclip.tracking.backend.delivery import UnreachableError, create_later, deliver, retry, retry_budget_of
from gradclip.tracking.backend.writes import (
    all_tags,
    dataset_inputs,
    run_files,
    write_parameters,
    write_points,
    write_summary,
)
from gradclip.tracking.records import RUN_FILE, Call, Dataset, EndOfRun, Point, StartedRun, StartOfRun, Store

_datasets: dict[tuple[Store, str], list[DatasetInput]] = {}


def remember_datasets(store: Store, name: str, datasets: Sequence[Dataset]) -> None:
    """Describe rows that many runs read, once."""
    _datasets[store, name] = dataset_inputs(datasets)


def start_run(store: Store, run: StartOfRun) -> StartedRun:
    """Create a run and write its settings and what it reads.

    Raises:
        TrackingError: the store cannot be opened, or refuses it for good.
    """
    if retry_budget_of(store).is_whole:
        with suppress(TrackingError, *STORE_ERRORS):  # one of the calls fails too then, or all is well
            return _start_at_once(store, run)
    return _start_call_by_call(store, run)


def complete_run(store: Store, begun: StartedRun, run: EndOfRun) -> None:
    """Write all the rest of a run.

    Raises:
        TrackingError: the store refuses it for good, or the spool cannot be written.
    """
    try:
        if begun.artifact_uri and retry_budget_of(store).is_whole:
            with suppress(*STORE_ERRORS):
                return _complete_at_once(store, begun.run_id, begun.artifact_uri, run)
        _complete_call_by_call(store, begun.run_id, run)
    except BaseException:
        with suppress(TrackingError):  # what went wrong first is told
            _deliver(store, begun.run_id, run.folder, ("end_run", "FAILED", run.end))
        raise


def _start_at_once(store: Store, run: StartOfRun) -> StartedRun:
    tags = all_tags(store, run.tags, run.parent)
    with _without_retries():
        created = client(store.uri).create_run(open_store(store), run.start, tags, run.name).info
    write_parameters(store, created.run_id, run.parameters)
    client(store.uri).log_inputs(created.run_id, datasets=_datasets[store, run.datasets])
    _note(created.run_id, run.folder)
    return StartedRun(created.run_id, created.artifact_uri)


@contextmanager
def _without_retries() -> Iterator[None]:
    """Keep MLflow from asking a server again by itself: an unanswered run that it created would be there twice."""
    retries, os.environ[MAX_RETRIES] = os.environ[MAX_RETRIES], "0"
    try:
        yield
    finally:
        os.environ[MAX_RETRIES] = retries


def _start_call_by_call(store: Store, run: StartOfRun) -> StartedRun:
    create = Call(store, "create_run", "", (run.name, run.tags, run.parent, run.start), run.folder)
    try:
        run_id = retry(create)
    except TrackingError as error:
        if not (store.spool_if_absent or isinstance(error, UnreachableError)):
            raise
        run_id = create_later(create)  # it trains already, so that it is worth keeping
    _note(run_id, run.folder)
    datasets = _datasets[store, run.datasets]
    _deliver(store, run_id, run.folder, ("write_parameters", run.parameters), ("write_datasets", datasets))
    return StartedRun(run_id, artifact_uri=None)


def _note(run_id: str, folder: str) -> None:
    """Leave a note beside the run of what it is in the store."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, RUN_FILE).write_text(json.dumps({"run_id": run_id}))


def _complete_at_once(store: Store, run_id: str, artifact_uri: str, run: EndOfRun) -> None:
    _write_files(store, artifact_uri, run.folder)
    if store.uri.startswith("http"):
        write_points(store, run_id, _points(run))
        write_summary(store, run_id, run.summary, run.tags, run.end)
        client(store.uri).set_terminated(run_id, "FINISHED", run.end)
    else:
        _finish(store, run_id, run)


def _complete_call_by_call(store: Store, run_id: str, run: EndOfRun) -> None:
    _deliver(
        *(store, run_id, run.folder),
        ("write_points", _points(run)),
        ("write_summary", run.summary, run.tags, run.end),
        ("write_run_files", run.folder),
        ("end_run", "FINISHED", run.end),
    )


def _deliver(store: Store, run_id: str, folder: str, *calls: tuple[Any, ...]) -> None:
    for function_name, *arguments in calls:
        deliver(Call(store, function_name, run_id, tuple(arguments), folder))


def _write_files(store: Store, uri: str, folder: str) -> None:
    """Store a run's files without asking the store where to, for each of them."""
    artifacts = get_artifact_repository(uri, tracking_uri=store.uri)
    for path in run_files(Path(folder)):
        if path.is_dir():
            artifacts.log_artifacts(str(path), path.name)
        else:
            artifacts.log_artifact(str(path))


def _points(run: EndOfRun) -> list[Point]:
    return [
        Point(key, value, run.timestamp, step)
        for key, curve in run.curves.items()
        for step, value in zip(curve.step.tolist(), curve.value.tolist(), strict=True)
    ]


def _finish(store: Store, run_id: str, run: EndOfRun) -> None:
    """Put points and tags, all of them new, into MLflow's tables and the run's end with them: all or nothing.

    MLflow's own calls go over every point several times, to see what is there already: nothing is.

    Raises:
        MlflowException: the run is deleted.
    """
    database = _get_store(store.uri)
    rows = []
    for point in [*(Point(key, value, run.end, 0) for key, value in run.summary.items()), *_points(run)]:
        is_nan, value = database.sanitize_metric_value(point.value)
        rows.append(point._asdict() | {"run_uuid": run_id, "value": value, "is_nan": is_nan})
    latest = {row["key"]: row for row in rows}  # of a summary's number at step 0 and a curve, the curve's last
    tags = [{"run_uuid": run_id, "key": key, "value": value} for key, value in run.tags.items()]
    active = (SqlRun.run_uuid == run_id) & (SqlRun.lifecycle_stage == LifecycleStage.ACTIVE)
    ended = update(SqlRun).where(active).values(status="FINISHED", end_time=run.end)
    with database.engine.begin() as connection:
        if connection.execute(ended).rowcount != 1:
            raise MlflowException(f"Run {run_id} is not there any more")
        connection.execute(insert(SqlMetric), rows)
        connection.execute(insert(SqlLatestMetric), list(latest.values()))
        connection.execute(insert(SqlTag), tags)
