"""A real MLflow server on this machine, for tests, screenshots and benchmarks."""

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

# Below Linux's ephemeral ports: while a server is down, no connection takes its port.
PORTS = count(10_000 + 20 * os.getpid() % 20_000)
NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # the jobs are for language models


class Server:
    """An MLflow server that can be killed and restarted.

    Args:
        folder: folder of the database, the artifacts and the log.
        database: URI of the database; by default the SQLite file ``mlflow.db`` in the folder.
    """

    process: "subprocess.Popen[bytes]"

    def __init__(self, folder: Path, database: str | None = None) -> None:
        self.folder, self.database = folder, database or f"sqlite:///{folder}/mlflow.db"
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self, *options: str, environment: dict[str, str] | None = None) -> None:
        """Start the server and wait until it responds."""
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
        """Kill the server with all its processes, as a power loss would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Stop the server if it is running."""
        if self.process.poll() is None:
            self.kill()


def free_port() -> int:
    """Return an unused port, a different one at each call."""
    for port in PORTS:
        with suppress(OSError), socket.socket() as free:
            free.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def wait_until_it_answers(uri: str, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a server that was started responds."""
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
    """Serve the store in a folder, create it if necessary, and yield the server's address."""
    server = Server(folder)
    server.start()
    try:
        yield server.uri
    finally:
        server.stop()
