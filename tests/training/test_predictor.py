"""The stored model of a table predicts raw rows, without MLflow's own checks."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gradclip.data.sources import table
from gradclip.data.tabular import TabularData
from gradclip.errors import DataError
from gradclip.models.build import build_network
from gradclip.training.model_package import package_model
from gradclip.training.predictor import Predictor


def stored(folder: Path, **settings: str) -> tuple[TabularData, Predictor]:
    """Return data, which have missing values if settings are given, and the predictor of an untrained network."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"size": random.integers(20, 200, 80), "city": random.choice(["Bern", "Zug"], 80)})
    frame["heated"] = pd.Series(random.choice([True, False], 80), dtype=object)
    frame["kind"] = random.choice(["flat", "house", "tent"], 80)
    if settings:
        frame.loc[::5, ["size", "city", "heated"]] = None
    frame.to_csv(folder / "homes.csv", index=False)
    data = TabularData(table(str(folder / "homes.csv"), "kind", **settings), scale_inputs="standard")  # type: ignore[arg-type]
    description = {
        "target": "torch.nn.Linear",
        "settings": {},
        "example": data.shape.example,
        "outputs": data.shape.outputs,
    }
    files = package_model(folder, build_network(**description), description, data.schema)
    predictor = Predictor()
    predictor.load_context(SimpleNamespace(artifacts=files.artifacts))
    return data, predictor


def test_rows_with_missing_values_and_unknown_categories_get_labels(tmp_path: Path) -> None:
    data, predictor = stored(tmp_path, missing="median")
    rows = pd.DataFrame({"size": [90, None], "city": ["Basel", None], "heated": [None, True], "unused": [1, 2]})
    predicted = predictor.predict(None, rows)
    assert list(predicted) == ["kind"]
    assert set(predicted["kind"]) <= {"flat", "house", "tent"}
    whole = predictor.predict(None, pd.read_csv(tmp_path / "homes.csv"))["kind"]
    inputs = data.scaling.scale_inputs(data.table.features)
    weight, bias = (tensor.detach().numpy() for tensor in predictor.network.parameters())
    assert whole.tolist() == [("flat", "house", "tent")[row] for row in (inputs @ weight.T + bias).argmax(axis=1)]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("size", None, "column 'size', row 2: missing; the model was trained with data.missing=refuse or drop"),
        ("city", None, "column 'city', row 2: missing; the model was trained with data.missing=refuse or drop"),
        ("size", "large", "column 'size': could not convert string to float: 'large'; must be numbers"),
    ],
)
def test_the_stored_model_refuses_what_training_refused(
    tmp_path: Path, column: str, value: object, message: str
) -> None:
    _, predictor = stored(tmp_path)
    rows = pd.read_csv(tmp_path / "homes.csv").astype({column: object})
    rows.loc[1, column] = value
    with pytest.raises(DataError, match=f"^{message}"):
        predictor.predict(None, rows)
