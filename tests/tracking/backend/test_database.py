"""A SQLite store is created in a folder of any name, and whole or not at all."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy import URL

from gradclip.errors import AbsentStoreError
from gradclip.tracking.backend.connection import Connection
from gradclip.tracking.backend.database import create_sqlite, sqlite_file
from gradclip.tracking.records import Store


def test_a_store_can_be_created_in_and_from_a_folder_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / 'it\'s "50%25" #1? :x é'
    folder.mkdir()
    monkeypatch.chdir(folder)  # where MLflow would create its default experiment
    database, other = str(folder / "*.db"), folder / ".other.db.new"  # which somebody else is creating
    other.touch()
    uri = URL.create("sqlite", database=database).render_as_string(hide_password=False)
    assert sqlite_file(uri) == database
    create_sqlite(database, str(folder / "artifacts"), retry_seconds=0.0)
    assert [experiment.experiment_id for experiment in MlflowClient(uri).search_experiments()] == ["0"]
    assert [path.name for path in tmp_path.rglob("*.db")] == ["*.db"]
    assert {path.name for path in folder.iterdir()} == {"*.db", other.name}


def test_an_incomplete_store_is_kept_and_a_new_one_created(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE latest_metrics (key TEXT)")
        connection.execute("CREATE TABLE experiments (name TEXT)")
        connection.commit()
    create_sqlite(str(path), str(tmp_path / "artifacts"), retry_seconds=0.0)
    assert MlflowClient(f"sqlite:///{path}").search_experiments()
    assert {found.name for found in tmp_path.iterdir()} == {"mlflow.db", "mlflow.db.incomplete"}


def test_a_locked_store_is_waited_for_as_long_as_retries_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradclip.tracking.backend.database.MIN_LOCKED_SECONDS", 0.5)
    path = tmp_path / "mlflow.db"
    create_sqlite(str(path), str(tmp_path / "artifacts"), retry_seconds=0.0)
    store = Store(f"sqlite:///{path}", str(tmp_path / "artifacts"), "gradclip", retry_seconds=0.1)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        with pytest.raises(AbsentStoreError, match=r"; cannot be opened: database is locked$"):
            Connection(store).experiment_id  # noqa: B018
        assert time.monotonic() - start < 30.0
