"""The model of a run. Runs in the tracking process.

``Model.log`` of MLflow does all of this in one go: it loads torch to try the model, and where a server's answer is lost
in between it leaves a model that is linked to the run and cannot be read. Here each step can be repeated.
"""

import tempfile
from pathlib import Path

import mlflow
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.models import Model, infer_signature

from gradclip import keys
from gradclip.tracking.backend.connection import client, open_store
from gradclip.tracking.backend.writes import context_tags
from gradclip.tracking.records import ModelFiles, Store


def write_model(store: Store, run_id: str, files: ModelFiles) -> None:
    """Store a model with its signature, an example of its input, and the code and packages that it needs."""
    mlflow.set_tracking_uri(store.uri)
    model = _model_of(store, run_id)
    if model.status != LoggedModelStatus.READY:
        with tempfile.TemporaryDirectory() as scratch:
            _save(model, run_id, files, Path(scratch, keys.MODEL))
            client(store.uri).log_model_artifacts(model.model_id, str(Path(scratch, keys.MODEL)))
        client(store.uri).finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    _link(store, run_id, model.model_id)


def _model_of(store: Store, run_id: str) -> LoggedModel:
    """The model that an earlier try made for the run, or a new one; a second one, made unanswered, is deleted."""
    made = f"source_run_id = '{run_id}'"
    models = list(client(store.uri).search_logged_models([open_store(store)], filter_string=made))
    models.sort(key=lambda model: model.status != LoggedModelStatus.READY)
    for twin in models[1:]:
        client(store.uri).delete_logged_model(twin.model_id)
    if models:
        return models[0]
    settings = client(store.uri).get_run(run_id).data.params
    return client(store.uri).create_logged_model(open_store(store), keys.MODEL, run_id, context_tags(), settings)


def _save(model: LoggedModel, run_id: str, files: ModelFiles, folder: Path) -> None:
    mlflow.pyfunc.save_model(
        folder,
        mlflow_model=Model(model.artifact_location, run_id, model_uuid=model.model_id, model_id=model.model_id),
        python_model=files.code,
        code_paths=[files.package],
        artifacts=files.artifacts,
        signature=infer_signature(files.example, files.prediction),
        input_example=files.example,
        pip_requirements=files.requirements,
    )


def _link(store: Store, run_id: str, model_id: str) -> None:
    """Show the model with the run, and the run's last metrics with the model."""
    run = client(store.uri).get_run(run_id)
    if model_id not in {output.model_id for output in run.outputs.model_outputs}:
        client(store.uri).log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    points = [point for point in run.data._metric_objs if point.step == 0]
    metrics = [Metric(point.key, point.value, point.timestamp, 0, model_id, run_id=run_id) for point in points]
    client(store.uri).log_batch(run_id, metrics)
