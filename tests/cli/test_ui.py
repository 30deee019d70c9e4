"""The command ``ui`` names the reason in one line if MLflow's server could not start."""

import socket
import sqlite3
from pathlib import Path

import pytest

from gradclip.cli import ui


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ui, "home", lambda: tmp_path)
    path = tmp_path / "mlruns" / "mlflow.db"
    path.parent.mkdir()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
    return path


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit, match="2"):
        ui.run_ui(arguments, "")
    return capsys.readouterr().err


@pytest.mark.usefixtures("store")
def test_a_port_in_use_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server((ui.HOST, 0)) as other:
        port = other.getsockname()[1]
        line = f"error: port: got {port}; cannot be used: Address already in use; choose another\n"
        assert refusal(capsys, f"port={port}") == line


def test_a_store_that_is_not_a_database_is_refused(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.write_text("text" * 1000)
    line = f"error: ui: got '{store}'; it is no store that can be read: file is not a database\n"
    assert refusal(capsys) == line
