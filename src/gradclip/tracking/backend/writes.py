"""Write to the MLflow store, call by call. Runs in the tracking process; imports MLflow, not torch."""

import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import mlflow
from filelock import FileLock
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.pandas_dataset import PandasDataset, from_pandas
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking.context.registry import resolve_tags

from gradclip import keys
from gradclip.tracking.backend.connection import client, open_store
from gradclip.tracking.records import CHECKPOINT_FILE, PARENT_FILE, Dataset, Parent, Point, Store

MOST_METRICS = 1000  # MLflow takes no more in one batch
MOST_PARAMETERS = 100
RUN_FOLDERS = (keys.FIGURES_FOLDER, keys.TELEMETRY_FOLDER, keys.EXPLOSION_FOLDER)


def create_run(
    store: Store, name: str, tags: Mapping[str, str], parent: Parent | None = None, start: int | None = None
) -> str:
    """Create a run, under its parent if it has one, and return its id; that of one with the same creation tag.

    It began at ``start``, in milliseconds since 1970, or now.
    """
    experiment_id = open_store(store)
    if run_id := created_before(store, tags.get(keys.CREATION)):
        return run_id
    run = client(store.uri).create_run(experiment_id, start, all_tags(store, tags, parent), name)
    return str(run.info.run_id)


@cache
def context_tags() -> dict[str, str]:
    """What MLflow tells of a process: its user, its script and the commit of that; finding it takes milliseconds."""
    return dict(resolve_tags())


def created_before(store: Store, creation: str | None) -> str | None:
    """The run that was created by an earlier try, whose answer did not arrive."""
    found = created_as(store, creation)
    return str(found[0].info.run_id) if found else None


def created_as(store: Store, creation: str | None) -> list[Run]:
    """The runs that were created as one: more than one where a server's answer was lost and it was asked again."""
    if not creation:
        return []
    return list(client(store.uri).search_runs([open_store(store)], f"tags.{keys.CREATION} = '{creation}'"))


def all_tags(store: Store, tags: Mapping[str, str], parent: Parent | None) -> dict[str, str]:
    """The tags of a new run: its own, what puts it under its parent, and what MLflow tells of the process."""
    under = {keys.PARENT_RUN: _parent_id(store, parent)} if parent else {}
    return {**context_tags(), **under, **tags}


def _parent_id(store: Store, parent: Parent) -> str:
    """The parent run of a multirun, created by whichever of its jobs comes first."""
    note = Path(parent.folder, PARENT_FILE)
    with FileLock(f"{note}.lock"):
        if not note.exists():
            run_id = create_run(store, parent.name, parent.tags)
            note.write_text(json.dumps({"run_id": run_id, "store": store._asdict()}))
        return str(json.loads(note.read_text())["run_id"])


def write_parameters(store: Store, run_id: str, parameters: Mapping[str, str]) -> None:
    """Write the settings of a run."""
    everything = [Param(key, value) for key, value in parameters.items()]
    for start in range(0, len(everything), MOST_PARAMETERS):
        client(store.uri).log_batch(run_id, params=everything[start : start + MOST_PARAMETERS])


def write_points(store: Store, run_id: str, points: Sequence[Point]) -> None:
    """Write metrics, as many at a time as MLflow takes."""
    for start in range(0, len(points), MOST_METRICS):
        block = [Metric(*point) for point in points[start : start + MOST_METRICS]]
        client(store.uri).log_batch(run_id, metrics=block)


def write_summary(
    store: Store, run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str], timestamp: int
) -> None:
    """Write what is known at the end of a run."""
    client(store.uri).log_batch(
        run_id,
        metrics=[Metric(key, value, timestamp, 0) for key, value in metrics.items()],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )


def write_files(store: Store, run_id: str, folder: str, below: str | None = None) -> None:
    """Store a folder's content as artifacts, in a folder below if one is named."""
    client(store.uri).log_artifacts(run_id, folder, below)


def write_run_files(store: Store, run_id: str, folder: str) -> None:
    """Store what a run leaves in its folder as artifacts."""
    for path in run_files(Path(folder)):
        if path.is_dir():
            client(store.uri).log_artifacts(run_id, str(path), path.name)
        else:
            client(store.uri).log_artifact(run_id, str(path))


def run_files(folder: Path) -> list[Path]:
    """What a run leaves in its folder: files and folders of files."""
    paths = (folder / name for name in (keys.CONFIG_FILE, *RUN_FOLDERS))
    return [path for path in paths if path.exists()]


def keep_checkpoint(store: Store, run_id: str, path: str) -> None:
    """Make a checkpoint the one to go on from: what led to it is in the store now."""
    del store, run_id  # the other functions need them
    source = Path(path)
    with source.open("rb") as file:
        os.fsync(file.fileno())
    source.replace(source.parent / Path(CHECKPOINT_FILE).name)


def write_text(store: Store, run_id: str, text: str, name: str) -> None:
    """Store a text as an artifact."""
    client(store.uri).log_text(run_id, text, name)


def write_datasets(store: Store, run_id: str, datasets: Sequence[Dataset | DatasetInput]) -> None:
    """Tell which rows a run read."""
    client(store.uri).log_inputs(run_id, datasets=dataset_inputs(datasets))


def dataset_inputs(datasets: Sequence[Dataset | DatasetInput]) -> list[DatasetInput]:
    """What MLflow is told of rows, unless they are described already."""
    return [data if isinstance(data, DatasetInput) else _input(data) for data in datasets]


def _input(data: Dataset) -> DatasetInput:
    return DatasetInput(_described(data)._to_mlflow_entity(), [InputTag("mlflow.data.context", data.context)])


def _described(data: Dataset) -> PandasDataset | MetaDataset:
    if data.frame is None:
        return MetaDataset(resolve_dataset_source(data.source), name=data.name)
    return from_pandas(data.frame, source=data.source, targets=data.target, name=data.name)


_monitors: dict[str, SystemMetricsMonitor] = {}


def start_system_metrics(store: Store, run_id: str) -> None:
    """Begin to record processor, memory and disk use of this machine, or go on; until the store fails once."""
    mlflow.set_tracking_uri(store.uri)
    _monitors[run_id] = SystemMetricsMonitor(run_id, sampling_interval=1, resume_logging=True)
    _monitors[run_id].start()


def end_run(store: Store, run_id: str, status: str, end: int | None = None) -> None:
    """Close a run as FINISHED, FAILED or KILLED; it ended then, in milliseconds since 1970, or now."""
    if run_id in _monitors:
        _monitors.pop(run_id).finish()
    if store.uri.startswith("http"):
        _delete_duplicates(store, run_id)
    client(store.uri).set_terminated(run_id, status, end)


def _delete_duplicates(store: Store, run_id: str) -> None:
    """Delete empty runs that a server created too."""
    creation = client(store.uri).get_run(run_id).data.tags.get(keys.CREATION)
    for run in created_as(store, creation):
        if run.info.run_id != run_id:
            client(store.uri).delete_run(run.info.run_id)
