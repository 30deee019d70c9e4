"""Writing and reading of a run's stored model.

MLflow's ``Model.log`` does all of this in one call, but it loads torch to try the model, and if a server's answer is
lost halfway, it leaves an unreadable model linked to the run. Here each step can be repeated.
"""

import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature, infer_signature
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.types.schema import AnyType, ColSpec, DataType, Schema

from gradclip import keys
from gradclip.tracking.backend.connection import Connection, check_location, download
from gradclip.tracking.backend.writes import context_tags
from gradclip.tracking.model_example import Example, read_example
from gradclip.tracking.records import MODEL_PARTS, ModelFiles, model_name
from gradclip.tracking.scratch import scratch_folder, temporary_files_in

PACKAGE = Path(__file__).parents[2]  # the source of gradclip, stored with each model
MAX_MODEL = 4 * 1024**3  # bytes of a file of a model that is read back
PREDICTOR = PACKAGE / "training" / "predictor.py"


class Models(Connection):
    """Writing and reading of models; see :class:`gradclip.tracking.operations.Operations`."""

    def write_model(self, run_id: str, files: ModelFiles) -> None:
        """Store a model with its signature, an input example, and the code and packages that it needs."""
        mlflow.set_tracking_uri(self.uri)
        model = self._model_of(run_id)
        check_location(model.artifact_location, self.uri)
        if model.status != LoggedModelStatus.READY:
            # MLflow makes a temporary copy of the weights.
            with scratch_folder() as scratch, temporary_files_in(scratch):
                _save(model, run_id, files, scratch / keys.MODEL)
                self.client.log_model_artifacts(model.model_id, str(scratch / keys.MODEL))
            self.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        self._link(run_id, model.model_id)

    def read_model(self, run_id: str, folder: str) -> Path | None:
        """Download the files that a stored model's predictor reads, without running any code of the model.

        Raises:
            TrackingError: the files are on another server.
        """
        experiment_id = self.client.get_run(run_id).info.experiment_id
        models = self.client.search_logged_models([experiment_id], filter_string=f"source_run_id = '{run_id}'")
        for model in models:
            check_location(model.artifact_location, self.uri)
            repository = get_artifact_repository(model.artifact_location, tracking_uri=self.uri)
            parts = [download(repository, f"artifacts/{part}", folder, MAX_MODEL) for part in MODEL_PARTS]
            if any(parts):
                return Path(folder, "artifacts")
        return None

    def _model_of(self, run_id: str) -> LoggedModel:
        """Return the model that an earlier attempt created, or a new one; delete duplicates of unanswered attempts."""
        experiment_id = self.experiment_id
        models = list(self.client.search_logged_models([experiment_id], filter_string=f"source_run_id = '{run_id}'"))
        models.sort(key=lambda model: model.status != LoggedModelStatus.READY)
        for duplicate in models[1:]:
            self.client.delete_logged_model(duplicate.model_id)
        if models:
            return models[0]
        run = self.client.get_run(run_id)
        name = model_name(run.info.run_name)
        return self.client.create_logged_model(experiment_id, name, run_id, context_tags(), run.data.params)

    def _link(self, run_id: str, model_id: str) -> None:
        """Show the model with the run, and the run's final metrics with the model."""
        if not self._is_linked(run_id, model_id):
            try:
                self.client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
            except MlflowException:
                if not self._is_linked(run_id, model_id):  # an earlier attempt that timed out may have done it
                    raise
        points = [point for point in self.client.get_run(run_id).data._metric_objs if point.step == 0]
        metrics = [Metric(point.key, point.value, point.timestamp, 0, model_id, run_id=run_id) for point in points]
        self.client.log_batch(run_id, metrics)

    def _is_linked(self, run_id: str, model_id: str) -> bool:
        """Return whether the run has the model."""
        return model_id in {output.model_id for output in self.client.get_run(run_id).outputs.model_outputs}


def _save(model: LoggedModel, run_id: str, files: ModelFiles, folder: Path) -> None:
    example = read_example(Path(files.example))
    mlflow.pyfunc.save_model(
        folder,
        mlflow_model=Model(model.artifact_location, run_id, model_uuid=model.model_id, model_id=model.model_id),
        python_model=str(PREDICTOR),
        code_paths=[str(PACKAGE)],
        artifacts=files.artifacts,
        signature=_signature(files, example),
        input_example=example,
        pip_requirements=files.requirements,
    )
    _add_torch(folder, files)


def _add_torch(folder: Path, files: ModelFiles) -> None:
    """Let ``mlflow.pytorch.load_model`` load the model too; MLflow's own call would need torch in this process."""
    data = folder / "data"
    data.mkdir()
    shutil.copyfile(files.network, data / "model.pth")
    (data / "pickle_module_info.txt").write_text("pickle")
    (torch_version,) = (one.partition("==")[2] for one in files.requirements if one.startswith("torch=="))
    model = Model.load(folder)
    model.add_flavor("pytorch", model_data=data.name, pytorch_version=torch_version, code="code")
    model.save(folder / "MLmodel")


def _signature(files: ModelFiles, example: Example) -> ModelSignature:
    """Return the model's signature; a column is text or of any type, since types inferred from one example mislead."""
    signature = infer_signature(example, _prediction(files, example))
    if isinstance(example, pd.DataFrame):
        types = [DataType.string if column.type == DataType.string else AnyType() for column in signature.inputs]
        signature.inputs = Schema([ColSpec(kind, name) for kind, name in zip(types, example, strict=True)])
    return signature


def _prediction(files: ModelFiles, example: Example) -> Example:
    """Return a placeholder prediction, zeros or the first class, for the signature."""
    description = json.loads(Path(files.artifacts["description"]).read_text())
    if isinstance(example, pd.DataFrame):
        return pd.DataFrame({description["target"]: (description.get("labels") or [0.0])[:1]})
    outputs = description["network"]["outputs"]
    shape = outputs[:-1] if description["classes"] else outputs
    return np.zeros((len(example), *shape), np.int64 if description["classes"] else np.float64)
