"""A run over a server that answers errors, loses answers and hangs is the run over one that does not."""

from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from tests.conftest import Command
from tests.faulty_server import faulty
from tests.mlflow_server import serve

FAULTS = ("pass", "pass", "error", "pass", "pass", "lose", "pass", "pass", "pass", "pass", "hang")
IMPATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0"}  # the server hangs for 2 s


def content(client: MlflowClient, run: Run) -> dict[str, Any]:
    """Everything that a run has in the store."""
    histories = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
    return {
        "status": run.info.status,
        "points": {key: [(point.step, point.value) for point in history] for key, history in histories.items()},
        "parameters": {key: value for key, value in run.data.params.items() if not key.startswith("tracking.")},
        "files": sorted(entry.path for entry in client.list_artifacts(run.info.run_id)),
        "datasets": len(run.inputs.dataset_inputs),
        "models": [client.get_logged_model(output.model_id).status for output in run.outputs.model_outputs],
    }


def test_errors_lost_answers_and_hangs_change_nothing(train: Command, tmp_path: Path) -> None:
    settings = ("trainer=debug", "clip=norm", "figures=false", "tracking=server")
    with serve(tmp_path) as server, faulty(server, *FAULTS) as address:
        done = train(*settings, f"tracking.uri={address}", environment=IMPATIENT)
        assert (done.returncode, "Unsent" in done.stdout) == (0, False), done.stderr
        assert train(*settings, f"tracking.uri={server}").returncode == 0
        client = MlflowClient(server)
        whole, ours = client.search_runs([client.get_experiment_by_name("gradclip").experiment_id])
        assert content(client, ours) == content(client, whole)
        assert len(client.search_logged_models([ours.info.experiment_id])) == 2
