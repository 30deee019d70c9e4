"""Write runs that are over, with as few calls as MLflow takes. Runs in the tracking process."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlflow.entities import DatasetInput, Metric, Param
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.time import get_current_time_millis

from gradclip.tracking.messages import CompleteRun, Dataset, Store
from gradclip.tracking.store import (
    MOST_METRICS,
    MOST_PARAMETERS,
    client,
    dataset_inputs,
    end_run,
    open_store,
    parent_tags,
    run_files,
)

_datasets: dict[tuple[Store, str], list[DatasetInput]] = {}


def remember_datasets(store: Store, name: str, datasets: Sequence[Dataset]) -> None:
    """Describe rows that many runs read, once."""
    _datasets[store, name] = dataset_inputs(datasets)


def write_complete_run(store: Store, run: CompleteRun) -> str:
    """Write a whole run and return its id."""
    mlflow = client(store.uri)
    tags = resolve_tags() | parent_tags(store, run.parent) | run.tags
    created = mlflow.create_run(open_store(store), run.start, tags, run.name)
    run_id = str(created.info.run_id)
    try:
        with _no_collection():
            _write_numbers(store, run_id, run)
        mlflow.log_inputs(run_id, datasets=_datasets[store, run.datasets])
        _write_files(store, str(created.info.artifact_uri), run.folder)
    except BaseException:
        end_run(store, run_id, "FAILED")
        raise
    mlflow.set_terminated(run_id, "FINISHED", run.end)
    return run_id


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector from going over thousands of live objects of the database layer, again and again."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _write_files(store: Store, uri: str, folder: str) -> None:
    """Store a run's files without asking the store where to, for each of them."""
    artifacts = get_artifact_repository(uri, tracking_uri=store.uri)
    for path in run_files(Path(folder)):
        if path.is_dir():
            artifacts.log_artifacts(str(path), path.name)
        else:
            artifacts.log_artifact(str(path))


def _write_numbers(store: Store, run_id: str, run: CompleteRun) -> None:
    """Parameters and metrics in full blocks: MLflow takes a thousand of both in one call."""
    now = get_current_time_millis()
    metrics = [Metric(key, value, now, 0) for key, value in run.summary.items()]
    metrics += [Metric(*point) for point in run.points]
    parameters = [Param(key, value) for key, value in run.parameters.items()]
    while metrics or parameters:
        some, parameters = parameters[:MOST_PARAMETERS], parameters[MOST_PARAMETERS:]
        room = MOST_METRICS - len(some)
        client(store.uri).log_batch(run_id, metrics=metrics[:room], params=some)
        metrics = metrics[room:]
