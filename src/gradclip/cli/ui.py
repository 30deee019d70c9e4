"""The command ``ui``: serves the MLflow UI for the default store."""

import os
import socket
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from inspect import cleandoc
from pathlib import Path

from gradclip.cli.entry import errors_in_one_line, print_help_or_version
from gradclip.config.paths import default_store
from gradclip.errors import ConfigError
from gradclip.program import home

HOST, PORT = "127.0.0.1", 5000


def run_ui(arguments: Sequence[str], usage: str) -> None:
    """Replace this process by MLflow's server; the only argument is ``port=``."""
    if print_help_or_version(arguments, lambda: cleandoc(usage)):
        return
    with errors_in_one_line("ui"):
        port = _port_of(arguments)
        _check_store(home() / "mlruns" / "mlflow.db")
        _check_port(port)
    where = ["--host", HOST, "--port", str(port), "--workers", "1"]
    server = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", default_store(), *where]
    os.execv(sys.executable, server)


def _check_store(store: Path) -> None:
    """Check that the store is an SQLite file with MLflow's tables; the server would not name the reason."""
    if not store.is_file():
        raise ConfigError(f"ui: got {str(store)!r}; there is no such store; train something first")
    try:
        with closing(sqlite3.connect(store)) as database:
            database.execute("SELECT * FROM alembic_version")
    except sqlite3.Error as error:
        raise ConfigError(f"ui: got {str(store)!r}; it is no store that can be read: {error}") from error


def _check_port(port: int) -> None:
    """Check that the server can listen on the port; it would try for ever."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ConfigError(f"port: got {port}; cannot be used: {error.strerror}; choose another") from error


def _port_of(arguments: Sequence[str]) -> int:
    """Return the port to serve on."""
    port = PORT
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name != "port":
            raise ConfigError(f"{name}: no such setting; the only one is port=")
        if not value.isdecimal() or not 0 < int(value) < 2**16:
            raise ConfigError(f"port: got {value!r}; must be a number from 1 to 65535")
        port = int(value)
    return port
