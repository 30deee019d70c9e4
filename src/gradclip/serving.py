"""The stored model: raw, unscaled rows in, predictions in the target's own unit out.

MLflow stores this file with the run and runs it on loading. Weights and scalers are data, not programs: torch reads
the weights with ``weights_only=True``, skops reads the scalers and refuses what is not scikit-learn's.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Predictor(PythonModel):  # type: ignore[misc]  # MLflow is not typed
    """Scale, run the network, scale back."""

    def load_context(self, context: Any) -> None:
        """Read network and scalers from the artifacts of the model."""
        import torch
        from skops import io

        from gradclip.models.build import build_network

        files = context.artifacts
        self.description = json.loads(Path(files["description"]).read_text())
        self.network = build_network(**self.description["network"]).eval()
        self.network.load_state_dict(torch.load(files["weights"], weights_only=True))
        self.inputs, self.target = io.load(files["inputs"]), io.load(files["target"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Predict the target of each row, a frame with one column of the target's name."""
        import torch

        inputs = torch.tensor(self.inputs.transform(model_input).astype("float32"))
        with torch.no_grad():
            outputs = self.network(inputs).double().numpy()
        return pd.DataFrame(self.target.inverse_transform(outputs), columns=[self.description["target"]])


set_model(Predictor())
