"""Databases: SQLite's file, whether one can be written, and the statistics that make reading quick."""

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service.utils import _get_store
from sqlalchemy import Engine, NullPool, create_engine
from sqlalchemy.exc import SQLAlchemyError

from gradclip.errors import TrackingError

MIN_FREE_SPACE = 1_000_000  # bytes, that the tables of a new SQLite file may take
SQLITE_TIMEOUT = 60.0  # seconds to wait for another process that is writing
ANALYZED_ROWS = 1000  # of an index, that SQLite looks at
STORE_ERRORS = (MlflowException, SQLAlchemyError, sqlite3.Error, OSError)  # requests' errors are OSErrors


def engine_of(uri: str) -> Engine:
    """The engine by which MLflow reaches a database."""
    engine: Engine = _get_store(uri).engine
    return engine


def sqlite_file(uri: str) -> str:
    """The file of a SQLite store; empty for another store."""
    return urlsplit(uri).path.removeprefix("/") if uri.startswith("sqlite") else ""


@contextmanager
def remove_if_incomplete(database: str) -> Iterator[None]:
    """Remove a new SQLite file whose tables could not all be created: MLflow would not finish it."""
    file = Path(database)
    is_new = bool(database) and file.stat().st_size == 0
    try:
        yield
    except STORE_ERRORS:
        if not is_new:
            raise
        is_full = shutil.disk_usage(file.parent).free < MIN_FREE_SPACE
        file.unlink()
        if is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), database) from None
        raise


def check_writable(database: str) -> None:
    """Open the file for writing: MLflow would retry for minutes."""
    Path(database).parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(database, timeout=SQLITE_TIMEOUT)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()


def check_database(uri: str) -> None:
    """Connect once: MLflow would retry for minutes.

    Raises:
        TrackingError: the driver is not installed.
    """
    try:
        create_engine(uri, poolclass=NullPool).connect().close()
    except ModuleNotFoundError as error:
        raise TrackingError(f"tracking.uri: got {uri!r}; it needs the package {error.name}") from error


def is_read_only(uri: str) -> bool:
    """Whether a SQLite store cannot be written: its file, or the folder, where SQLite keeps a journal."""
    database = sqlite_file(uri)
    return bool(database) and not all(os.access(path, os.W_OK) for path in (database, Path(database).parent))


def analyze(uri: str) -> None:
    """Let SQLite count what the store holds; without statistics it scans every run's points to find those of one.

    The statistics are written to the store: one that is read-only stays as it is.
    """
    if not sqlite_file(uri) or is_read_only(uri):
        return
    engine = engine_of(uri)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"PRAGMA analysis_limit={ANALYZED_ROWS}")
        connection.exec_driver_sql("ANALYZE")
    engine.dispose()  # a connection uses the statistics that there were when it was opened
