"""A real MLflow server on this machine, for tests, pictures and benchmarks."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import requests

# Below those that Linux gives to connections: while a server is away, none of these takes its port.
PORTS = count(10_000 + 20 * os.getpid() % 20_000)
NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # those are for language models


class Server:
    """A server that can be killed and started again.

    Args:
        folder: for database, artifacts and log.
        database: its URI; none is the SQLite store ``mlflow.db`` of the folder.
    """

    process: "subprocess.Popen[bytes]"

    def __init__(self, folder: Path, database: str | None = None) -> None:
        self.folder, self.database = folder, database or f"sqlite:///{folder}/mlflow.db"
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self, *options: str, environment: dict[str, str] | None = None) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        places = ["--backend-store-uri", self.database, "--artifacts-destination", f"{self.folder}/artifacts"]
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                [*command, "--workers", "1", *places, *options],
                stdout=log,
                stderr=log,
                env=os.environ | NO_JOBS | (environment or {}),
                start_new_session=True,
            )
        try:
            wait_until_it_answers(self.uri, self.process)
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        """Kill it with all its processes, as a loss of power would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.kill()


def free_port() -> int:
    """A port that nothing listens on, another each time."""
    for port in PORTS:
        with suppress(OSError), socket.socket() as free:
            free.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def wait_until_it_answers(uri: str, process: "subprocess.Popen[bytes]") -> None:
    """Wait for a server that has been started."""
    for _ in range(900):
        assert process.poll() is None, "the server ended"
        try:
            requests.get(f"{uri}/health", timeout=1).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve the store of a folder, made if it is not there, and give the address."""
    server = Server(folder)
    server.start()
    try:
        yield server.uri
    finally:
        server.stop()
