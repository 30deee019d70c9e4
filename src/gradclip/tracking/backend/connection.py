"""Make sure that the store answers before anything is trained. Runs in the tracking process."""

import errno
import logging
import os
import shutil
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import requests
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service.utils import _get_store
from mlflow.utils.credentials import read_mlflow_creds
from mlflow.utils.time import get_current_time_millis
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import SQLAlchemyError

from gradclip.errors import TrackingError, first_line
from gradclip.tracking.records import Store
from gradclip.tracking.views import view_tags

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
    return first_line(cause)


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
