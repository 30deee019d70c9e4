"""Write runs in two goes, what is known before a training and what is known after it. Runs in the tracking process."""

from collections.abc import Sequence
from pathlib import Path

from mlflow.entities import DatasetInput
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlTag
from mlflow.tracking._tracking_service.utils import _get_store
from mlflow.tracking.context.registry import resolve_tags
from sqlalchemy import insert

from gradclip.tracking.messages import Dataset, EndOfRun, Point, StartedRun, StartOfRun, Store
from gradclip.tracking.store import (
    client,
    dataset_inputs,
    end_run,
    open_store,
    parent_tags,
    run_files,
    write_parameters,
    write_points,
    write_summary,
)

_datasets: dict[tuple[Store, str], list[DatasetInput]] = {}


def remember_datasets(store: Store, name: str, datasets: Sequence[Dataset]) -> None:
    """Describe rows that many runs read, once."""
    _datasets[store, name] = dataset_inputs(datasets)


def start_run(store: Store, run: StartOfRun) -> StartedRun:
    """Create a run and write its settings and what it reads."""
    tags = resolve_tags() | parent_tags(store, run.parent) | run.tags
    created = client(store.uri).create_run(open_store(store), run.start, tags, run.name).info
    write_parameters(store, created.run_id, run.parameters)
    client(store.uri).log_inputs(created.run_id, datasets=_datasets[store, run.datasets])
    return StartedRun(created.run_id, created.artifact_uri)


def complete_run(store: Store, begun: StartedRun, run: EndOfRun) -> str:
    """Write all the rest of a run and return its id."""
    try:
        _write_numbers(store, begun.run_id, run)
        _write_files(store, begun.artifact_uri, run.folder)
    except BaseException:
        end_run(store, begun.run_id, "FAILED")
        raise
    client(store.uri).set_terminated(begun.run_id, "FINISHED", run.end)
    return begun.run_id


def _write_files(store: Store, uri: str, folder: str) -> None:
    """Store a run's files without asking the store where to, for each of them."""
    artifacts = get_artifact_repository(uri, tracking_uri=store.uri)
    for path in run_files(Path(folder)):
        if path.is_dir():
            artifacts.log_artifacts(str(path), path.name)
        else:
            artifacts.log_artifact(str(path))


def _write_numbers(store: Store, run_id: str, run: EndOfRun) -> None:
    points = [*run.points, *(Point(key, value, run.end, 0) for key, value in run.summary.items())]
    if store.uri.startswith("http"):
        write_points(store, run_id, points)
        write_summary(store, run_id, {}, run.tags, run.end)
    else:
        _insert(store, run_id, points, run.tags)


def _insert(store: Store, run_id: str, points: Sequence[Point], tags: dict[str, str]) -> None:
    """Put points, each curve's in order, and tags that are new into MLflow's tables.

    MLflow's own call goes over every point several times, to see what is there already: nothing is.
    """
    database = _get_store(store.uri)
    rows = []
    for point in points:
        is_nan, value = database.sanitize_metric_value(point.value)
        rows.append(point._asdict() | {"run_uuid": run_id, "value": value, "is_nan": is_nan})
    latest = {row["key"]: row for row in rows}
    with database.engine.begin() as connection:
        connection.execute(insert(SqlMetric), rows)
        connection.execute(insert(SqlLatestMetric), list(latest.values()))
        connection.execute(insert(SqlTag), [{"run_uuid": run_id, "key": k, "value": v} for k, v in tags.items()])
