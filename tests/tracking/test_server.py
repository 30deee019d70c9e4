"""Training tracked by a real MLflow server on this machine."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import mlflow
import pytest
import requests
from mlflow import MlflowClient

from gradclip import keys
from tests.conftest import Command


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (folder / "log").open("w") as log, subprocess.Popen([*command, *places], stdout=log, stderr=log) as process:
        uri = f"http://127.0.0.1:{port}"
        try:
            wait_for(uri, process)
            yield uri
        finally:
            process.terminate()


def wait_for(uri: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        try:
            requests.get(f"{uri}/health", timeout=1).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


def test_a_run_on_a_server_has_its_points_files_and_model(train: Command, server: str) -> None:
    done = train("tracking=server", "trainer=debug", "clip=value", environment={"MLFLOW_TRACKING_URI": server})
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"See it: {server}/#/experiments/1/runs?")
    client = MlflowClient(server)
    (run,) = client.search_runs([client.get_experiment_by_name("gradclip").experiment_id])
    assert run.info.status == "FINISHED"
    assert len(client.get_metric_history(run.info.run_id, keys.GRAD_NORM)) == 48
    assert {entry.path for entry in client.list_artifacts(run.info.run_id, keys.FIGURES_FOLDER)}
    mlflow.set_tracking_uri(server)
    model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/{keys.MODEL}")
    assert [column.name for column in model.metadata.signature.outputs.inputs] == ["y"]
