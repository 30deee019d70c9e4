"""The stored model, from raw, unscaled examples to predictions in the target's own unit.

MLflow stores this file with the run and executes it when the model is loaded. Weights and scalers are data, not
programs: torch reads the weights with ``weights_only=True``, and skops reads the scalers and refuses types other than
scikit-learn's and those of NumPy's arrays.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Predictor(PythonModel):  # type: ignore[misc]  # MLflow is not typed
    """Scale the inputs, run the network, and scale its outputs back."""

    def load_context(self, context: Any) -> None:
        """Read network and scalers from the artifacts of the model."""
        import torch
        from skops import io

        from gradclip.models.build import build_network

        files = context.artifacts
        self.about = json.loads(Path(files["description"]).read_text())
        self.network = build_network(**self.about["network"]).eval()
        self.network.load_state_dict(torch.load(files["weights"], weights_only=True))
        self.inputs, self.target = (
            io.load(files[part], trusted=["numpy.dtype"]) if part in files else None for part in ("inputs", "target")
        )

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        """Predict the target of each example.

        Args:
            context: MLflow's context; not used.
            model_input: a frame of rows, or an array of sequences ``[sequences, steps, inputs]``; MLflow supports no
                type hint that allows both.
            params: not used.

        Returns:
            For rows, a frame with one column, named as the target, of numbers or class labels. For sequences, an array
            of numbers ``[sequences, 1]``, or of classes ``[sequences]`` or ``[sequences, steps]``.

        Raises:
            DataError: a cell is not a number, or it is missing and the model was trained without missing cells.
        """
        import torch

        examples: Any = model_input
        inputs = torch.tensor(np.asarray(self._scaled(examples), dtype=np.float32))
        with torch.no_grad():
            outputs = self.network(inputs).double().numpy()
        labels = self.about.get("labels")  # models of earlier versions have no labels
        if self.about["classes"] and not labels:
            return outputs.argmax(axis=-1)
        if labels:
            predicted = np.array(labels)[outputs.argmax(axis=-1)]
        else:
            predicted = outputs if self.target is None else self.target.inverse_transform(outputs)
        rows = isinstance(examples, pd.DataFrame)
        return pd.DataFrame(predicted, columns=[self.about["target"]]) if rows else predicted

    def _scaled(self, examples: Any) -> Any:
        if self.inputs is None:
            return examples
        if isinstance(examples, pd.DataFrame):
            from gradclip.data.raw_rows import inputs_of

            rows = examples[self.about["columns"]]
            return self.inputs.transform(inputs_of(rows, self.about["categorical"], self.about["fills_missing"]))
        steps = pd.DataFrame(examples.reshape(-1, examples.shape[-1]), columns=self.about["columns"])
        return self.inputs.transform(steps).reshape(*examples.shape[:-1], -1)


set_model(Predictor())
