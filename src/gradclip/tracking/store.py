"""The MLflow store: the only code that writes to it. Runs in the tracking process; imports MLflow, not torch."""

import errno
import json
import logging
import os
import shutil
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # seconds until a server that hangs counts as gone
MAX_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
os.environ.setdefault(MAX_RETRIES, "1")  # gradclip.tracking.delivery tries again by itself

import mlflow
import requests
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.pandas_dataset import PandasDataset, from_pandas
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking._tracking_service.utils import _get_store
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.credentials import read_mlflow_creds
from mlflow.utils.time import get_current_time_millis
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import SQLAlchemyError

from gradclip import keys
from gradclip.errors import TrackingError
from gradclip.tracking.messages import CHECKPOINT_FILE, PARENT_FILE, Dataset, Parent, Point, Store
from gradclip.tracking.views import view_tags

MOST_METRICS = 1000  # MLflow takes no more in one batch
MOST_PARAMETERS = 100
LEAST_SPACE = 1_000_000  # bytes, that the tables of a new SQLite file may take
SQLITE_PATIENCE = 60.0  # seconds to wait for another process that is writing
ANALYZED_ROWS = 1000  # of an index that SQLite looks at
SERVER_PATIENCE = 5.0  # seconds to wait for a server's first answer
STORE_ERRORS = (
    MlflowException,
    SQLAlchemyError,
    sqlite3.Error,
    OSError,
)  # of a network too: requests' errors are OSErrors
RUN_FOLDERS = (keys.FIGURES_FOLDER, keys.TELEMETRY_FOLDER, keys.EXPLOSION_FOLDER)
KIND = {"mlflow.experimentKind": "custom_model_development"}  # model training, for MLflow's pages

logging.getLogger("mlflow").setLevel(logging.ERROR)
logging.getLogger("alembic").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="mlflow")


class AbsentError(TrackingError):
    """The store cannot be opened."""


@cache
def client(uri: str) -> MlflowClient:
    """Return the one client of a store."""
    return MlflowClient(uri)


@cache
def open_store(store: Store) -> str:
    """Make sure that the store answers and the experiment exists; return the experiment's id.

    Raises:
        AbsentError: the server does not answer, or the database cannot be written.
        TrackingError: the experiment is deleted.
    """
    if store.uri.startswith("http"):
        _check_server(store.uri)
        return _experiment_id(store, artifact_location=None)
    try:
        Path(store.artifacts).mkdir(parents=True, exist_ok=True)
        if database := _sqlite_file(store.uri):
            _check_writable(database)
        else:
            _check_database(store.uri)
        with (
            FileLock(f"{database or store.artifacts}.lock"),
            _whole_or_none(database),
        ):  # parallel jobs would race to create the tables and the experiment
            experiment_id = _experiment_id(store, Path(store.artifacts).resolve().as_uri())
            analyze(store)
            return experiment_id
    except STORE_ERRORS as error:
        raise AbsentError(f"tracking.uri: got {store.uri!r}; cannot be opened: {_reason(error)}") from error


def analyze(store: Store) -> None:
    """Let SQLite see what the store holds; knowing nothing, it goes over every run's points to find those of one.

    It is written down in the store: one that can only be read stays as it is.
    """
    if not _sqlite_file(store.uri) or is_read_only(store):
        return
    engine = _get_store(store.uri).engine
    with engine.begin() as connection:
        connection.exec_driver_sql(f"PRAGMA analysis_limit={ANALYZED_ROWS}")
        connection.exec_driver_sql("ANALYZE")
    engine.dispose()  # a connection goes by what was seen before it was opened


@contextmanager
def _whole_or_none(database: str) -> Iterator[None]:
    """Remove a new SQLite file whose tables could not all be made: MLflow would not take it up again."""
    file = Path(database)
    is_new = bool(database) and file.stat().st_size == 0
    try:
        yield
    except STORE_ERRORS:
        if not is_new:
            raise
        full = shutil.disk_usage(file.parent).free < LEAST_SPACE
        file.unlink()
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), database) from None
        raise


def check_readable(store: Store) -> None:
    """Make sure that there is a store to read from, which MLflow would make up otherwise.

    Raises:
        TrackingError: there is none.
    """
    if store.uri.startswith("http"):
        _check_server(store.uri)
    database = _sqlite_file(store.uri)
    if database and not Path(database).exists():
        raise TrackingError(f"tracking.uri: got {store.uri!r}; there is no such store; train something first")


def is_read_only(store: Store) -> bool:
    """Whether a SQLite store cannot be written: its file, or the folder, where SQLite keeps a journal."""
    database = _sqlite_file(store.uri)
    return bool(database) and not all(os.access(path, os.W_OK) for path in (database, Path(database).parent))


def _check_server(uri: str) -> None:
    login = read_mlflow_creds()
    auth = (login.username, login.password or "") if login.username else None
    try:
        requests.get(f"{uri.rstrip('/')}/health", auth=auth, timeout=SERVER_PATIENCE).raise_for_status()
    except requests.RequestException as error:
        reason = type(error).__name__ if error.response is None else error.response.status_code
        raise AbsentError(f"tracking.uri: got {uri!r}; no MLflow server answers there ({reason})") from error


def _sqlite_file(uri: str) -> str:
    """The file of a SQLite store; nothing for another database."""
    return urlsplit(uri).path.removeprefix("/") if uri.startswith("sqlite") else ""


def _check_writable(database: str) -> None:
    """Open the file for writing: MLflow would try again for minutes."""
    Path(database).parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(database, timeout=SQLITE_PATIENCE)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()


def _check_database(uri: str) -> None:
    """Connect once: MLflow would try again for minutes.

    Raises:
        TrackingError: the driver is not installed.
    """
    try:
        create_engine(uri, poolclass=NullPool).connect().close()
    except ModuleNotFoundError as error:
        raise TrackingError(f"tracking.uri: got {uri!r}; it needs the package {error.name}") from error


def _reason(error: Exception) -> str:
    cause = error if isinstance(error, OSError) else error.__cause__ or error.__context__ or error
    return next(line for line in str(cause).splitlines() if line)


def _experiment_id(store: Store, artifact_location: str | None) -> str:
    experiment = client(store.uri).get_experiment_by_name(store.experiment)
    if experiment is None:
        return _create_experiment(store, artifact_location)
    if experiment.lifecycle_stage != "active":
        raise TrackingError(f"tracking.experiment: got {store.experiment!r}; it is deleted, restore it or take another")
    return str(experiment.experiment_id)


def _create_experiment(store: Store, artifact_location: str | None) -> str:
    tags = KIND | view_tags(get_current_time_millis())
    try:
        return str(client(store.uri).create_experiment(store.experiment, artifact_location, tags))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return _experiment_id(store, artifact_location)  # another job of the same server was quicker


def create_run(
    store: Store, name: str, tags: Mapping[str, str], parent: Parent | None = None, start: int | None = None
) -> str:
    """Create a run, under its parent if it has one, and return its id; that of one with the same creation tag.

    It began at ``start``, in milliseconds since 1970, or now.
    """
    experiment_id = open_store(store)
    if run_id := created_before(store, tags.get(keys.CREATION)):
        return run_id
    everything = {**context_tags(), **parent_tags(store, parent), **tags}
    run = client(store.uri).create_run(experiment_id, start, everything, name)
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


def parent_tags(store: Store, parent: Parent | None) -> dict[str, str]:
    """What puts a run under its parent."""
    return {keys.PARENT_RUN: _parent_id(store, parent)} if parent else {}


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
        _delete_twins(store, run_id)
    client(store.uri).set_terminated(run_id, status, end)


def _delete_twins(store: Store, run_id: str) -> None:
    """Delete empty runs that a server created too."""
    creation = client(store.uri).get_run(run_id).data.tags.get(keys.CREATION)
    for run in created_as(store, creation):
        if run.info.run_id != run_id:
            client(store.uri).delete_run(run.info.run_id)
