"""A run on a real MLflow server has its points, files and model, and can be compared."""

import mlflow
from mlflow import MlflowClient

from gradclip import keys
from gradclip.tracking.records import model_name
from tests.conftest import Command


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
    model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/{model_name(run.info.run_name)}")
    assert [column.name for column in model.metadata.signature.outputs.inputs] == ["y"]


def test_runs_on_a_server_are_compared(train: Command, compare: Command, server: str) -> None:
    environment = {"MLFLOW_TRACKING_URI": server}
    trained = train("-m", "clip=norm", "clip.value=1,10", "trainer=debug", "figures=false", environment=environment)
    assert trained.returncode == 0, trained.stderr
    done = compare("tracking=server", "figures=false", environment=environment)
    assert done.returncode == 0, done.stderr
    assert "final/mse_test of 2 runs" in done.stdout
    assert "Stored with the multirun's parent run" in done.stdout
