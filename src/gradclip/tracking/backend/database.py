"""Database stores: creation of SQLite files, checks before use, and statistics for fast queries."""

import errno
import logging
import os
import shutil
import sqlite3
from contextlib import closing
from glob import escape
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service.utils import _get_store
from sqlalchemy import URL, Engine, NullPool, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from gradclip.errors import TrackingError
from gradclip.tracking.files import replace

MIN_FREE_SPACE = 1_000_000  # bytes that the tables of a new SQLite file may take
MIN_LOCKED_SECONDS = 5.0  # to wait for another process that is writing, even if retries may take less
ANALYZED_ROWS = 1000  # rows of each index that SQLite samples
log = logging.getLogger(__name__)
STORE_ERRORS = (MlflowException, SQLAlchemyError, sqlite3.Error, OSError)  # requests' errors are OSErrors


def engine_of(uri: str) -> Engine:
    """Return the engine that MLflow uses for a database."""
    engine: Engine = _get_store(uri).engine
    return engine


def sqlite_file(uri: str) -> str:
    """Return the file of an SQLite store; empty for other stores.

    Example:
        >>> sqlite_file("sqlite:////tmp/a%25b/mlflow.db"), sqlite_file("http://127.0.0.1:5000")
        ('/tmp/a%b/mlflow.db', '')
    """
    return str(make_url(uri).database) if uri.startswith("sqlite") else ""


def is_file(database: str) -> bool:
    """Return whether a database file exists.

    Raises:
        TrackingError: the path is something else, such as a folder, or a pipe, on which SQLite would hang.
    """
    path = Path(database)
    if path.exists() and not path.is_file():
        raise TrackingError(f"tracking.uri: got {database!r}; that is not a file")
    return path.exists()


def create_sqlite(database: str, artifacts: str, retry_seconds: float) -> None:
    """Create an SQLite file with all of MLflow's tables or none; an existing file with the tables stays as it is.

    The tables are created in a temporary file, which is then renamed: MLflow cannot complete a file whose creation was
    killed. Such an incomplete file is kept under another name.

    Args:
        database: path of the file.
        artifacts: artifact folder of MLflow's default experiment; MLflow would use the current folder and write it into
            SQL without escaping.
        retry_seconds: how long to wait while another process locks the file.

    Raises:
        OSError: the disk is full or read-only.
        STORE_ERRORS: the file cannot be created.
    """
    path = Path(database)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size:
        if not _is_incomplete(database, retry_seconds):
            return
        kept = path.with_name(f"{path.name}.incomplete")
        log.error(f"{path}: its creation was interrupted; it is kept as {kept.name}, and a new store is created")
        path.replace(kept)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    try:
        uri = URL.create("sqlite", database=str(new)).render_as_string(hide_password=False)
        _get_store(uri, Path(artifacts).resolve().as_uri()).engine.dispose()
        replace(new, path)
    except STORE_ERRORS:
        if shutil.disk_usage(path.parent).free < MIN_FREE_SPACE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), database) from None
        raise
    finally:
        for leftover in path.parent.glob(f"{escape(new.name)}*"):
            leftover.unlink()


def _is_incomplete(database: str, retry_seconds: float) -> bool:
    """Return whether a file has no tables, or lacks the schema version, which MLflow writes last."""
    with closing(_connect(database, retry_seconds)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "alembic_version" in tables and connection.execute("SELECT count(*) FROM alembic_version").fetchone()[0]:
            return False
        return not tables or "experiments" in tables or "alembic_version" in tables


def check_writable(database: str, retry_seconds: float) -> None:
    """Open the file for writing; MLflow would retry for minutes."""
    with closing(_connect(database, retry_seconds)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()


def _connect(database: str, retry_seconds: float) -> sqlite3.Connection:
    return sqlite3.connect(database, timeout=max(retry_seconds, MIN_LOCKED_SECONDS))


def check_database(uri: str) -> None:
    """Connect once; MLflow would retry for minutes.

    Raises:
        TrackingError: the driver is not installed.
    """
    try:
        create_engine(uri, poolclass=NullPool).connect().close()
    except ModuleNotFoundError as error:
        raise TrackingError(f"tracking.uri: got {uri!r}; it needs the package {error.name}") from error


def is_read_only(uri: str) -> bool:
    """Return whether the file of an SQLite store, or its folder, where SQLite keeps a journal, is read-only."""
    database = sqlite_file(uri)
    return bool(database) and not all(os.access(path, os.W_OK) for path in (database, Path(database).parent))


def analyze(uri: str) -> None:
    """Update SQLite's statistics; without them SQLite scans the points of all runs to find those of one.

    The statistics are written to the store, so this is a no-op for a read-only store.
    """
    if not sqlite_file(uri) or is_read_only(uri):
        return
    engine = engine_of(uri)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"PRAGMA analysis_limit={ANALYZED_ROWS}")
        connection.exec_driver_sql("ANALYZE")
    engine.dispose()  # an open connection keeps using the old statistics
