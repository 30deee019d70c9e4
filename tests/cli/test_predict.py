"""Predictions become the last column of the output; a model or rows that do not fit are refused in one line."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradclip.cli.predict import check_output, load_predictor, model_errors, with_predictions
from gradclip.config.composition import compose_config
from gradclip.config.schema import PredictSettings
from gradclip.config.tracking import TrackingSettings
from gradclip.config.validation import validate_values
from gradclip.data.sources import table
from gradclip.data.tabular import TabularData
from gradclip.errors import ConfigError, DataError, GradclipError
from gradclip.models.build import build_network
from gradclip.training.model_package import package_model
from gradclip.training.predictor import Predictor

SETTING = "run: got 'last' (norm=1.0)"


@pytest.fixture(scope="module")
def tracking() -> TrackingSettings:
    return compose_config([]).tracking


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Write the files of a model, with an untrained network for a table of two columns."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"size": random.integers(20, 200, 80), "city": random.choice(["Bern", "Zug"], 80)})
    frame.assign(price=frame["size"] * 2).to_csv(tmp_path / "homes.csv", index=False)
    data = TabularData(table(str(tmp_path / "homes.csv"), "price"), scale_inputs="standard", scale_target="standard")
    shapes = {"example": data.shape.example, "outputs": data.shape.outputs}
    description = {"target": "torch.nn.Linear", "settings": {}, **shapes}
    (folder := tmp_path / "artifacts").mkdir()
    package_model(folder, build_network(**description), description, data.schema)
    return folder


def loaded(model: Path, tracking: TrackingSettings) -> Predictor:
    with model_errors(SETTING):
        return load_predictor(model, tracking, SETTING)


def change_network(model: Path, **network: object) -> None:
    about = json.loads((model / "description").read_text())
    about["network"] |= network
    (model / "description").write_text(json.dumps(about))


def test_predictions_are_added_as_the_last_column(model: Path, tracking: TrackingSettings) -> None:
    rows = pd.DataFrame({"name": ["a", "b"], "city": ["Zug", "Bern"], "size": [50, 90]})
    predicted = with_predictions(rows, loaded(model, tracking), "data.path: got 'new.csv'")
    assert list(predicted) == ["name", "city", "size", "predicted_price"]
    assert predicted[["name", "city", "size"]].equals(rows)
    expected = loaded(model, tracking).predict(None, rows)["price"]
    assert predicted["predicted_price"].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ({"city": ["Zug"]}, "it has no column 'size', which the model was trained on"),
        ({"city": ["Zug"], "size": [None]}, "column 'size', row 1: missing; "),
        ({"city": ["Zug"], "size": ["x"]}, "column 'size': could not convert string to float"),
    ],
)
def test_rows_that_do_not_fit_the_model_are_refused(
    model: Path, tracking: TrackingSettings, rows: dict[str, list[object]], reason: str
) -> None:
    with pytest.raises(DataError, match=f"^data.path: got 'new.csv'; {reason}"):
        with_predictions(pd.DataFrame(rows), loaded(model, tracking), "data.path: got 'new.csv'")


def test_a_model_that_names_an_untrusted_class_is_refused(model: Path, tracking: TrackingSettings) -> None:
    change_network(model, target="os.system")
    with pytest.raises(ConfigError, match=r"^tracking.trusted_models: the stored model names 'os.system'; only "):
        loaded(model, tracking)


def test_a_model_of_sequences_is_refused(model: Path, tracking: TrackingSettings) -> None:
    change_network(model, example=[10, 3])
    with pytest.raises(ConfigError, match=r"its model takes sequences, not rows"):
        loaded(model, tracking)


@pytest.mark.parametrize("part", ["description", "weights", "inputs", "target"])
def test_a_damaged_model_is_refused(model: Path, tracking: TrackingSettings, part: str) -> None:
    (model / part).write_bytes(b"\x80\x04damaged")
    with pytest.raises(ConfigError, match=r"^run: got 'last' \(norm=1.0\); its stored model cannot be used: "):
        loaded(model, tracking)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("columns", None), ("columns", 5), ("columns", [["size", "city"]]), ("columns", []), ("columns", ["size"])),
        *(("target", []), ("target", [["x"]]), ("classes", True), ("labels", 5), ("labels", "x"), ("labels", {"a": 1})),
        *(("categorical", None), ("categorical", -1), ("categorical", [])),
    ],
)
def test_a_model_whose_description_does_not_fit_is_refused_in_one_line(
    model: Path, tracking: TrackingSettings, name: str, value: object
) -> None:
    about = json.loads((model / "description").read_text())
    without = {key: known for key, known in about.items() if key != name}
    rows = pd.DataFrame({"city": ["Zug", "Bern"], "size": [50, 90]})
    for changed in [about | {name: value}] + [without] * (name != "labels"):  # earlier versions wrote no labels
        (model / "description").write_text(json.dumps(changed))
        with pytest.raises(GradclipError) as refused, model_errors(SETTING):
            with_predictions(rows, load_predictor(model, tracking, SETTING), "data.path: got 'new.csv'")
        assert str(refused.value).startswith((f"{SETTING}; its stored model cannot be used: ", "data.path: got "))
        assert "\n" not in str(refused.value)


def test_the_output_must_be_another_file_in_an_existing_folder(tmp_path: Path, tracking: TrackingSettings) -> None:
    def settings(output: Path) -> PredictSettings:
        values = {"run": "last", "output": str(output), "data": {"path": str(tmp_path / "new.csv")}}
        stored = tracking.model_copy(update={"uri": "sqlite:///store.db"}).model_dump()
        return validate_values(PredictSettings, values | {"tracking": stored})

    assert check_output(settings(tmp_path / "out.csv")) == tmp_path / "out.csv"
    with pytest.raises(ConfigError, match=r"that is the input file, data\.path"):
        check_output(settings(tmp_path / "new.csv"))
    (tmp_path / "link.csv").symlink_to(tmp_path / "out.csv")
    assert check_output(settings(tmp_path / "link.csv")) == tmp_path / "out.csv"
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    assert check_output(settings(tmp_path / "loop.csv")) == tmp_path / "loop.csv"
    os.mkfifo(tmp_path / "pipe")  # a device, such as /dev/null, would be replaced by the file
    for output in (tmp_path, tmp_path / "nowhere" / "out.csv", tmp_path / "pipe"):
        with pytest.raises(ConfigError, match="must be a file in a folder that exists"):
            check_output(settings(output))
