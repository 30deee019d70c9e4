"""The command ``predict``: predicts new rows with a stored model and writes a CSV file."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from gradclip.config.schema import PredictSettings
from gradclip.config.serialization import check_trusted
from gradclip.config.tracking import TrackingSettings
from gradclip.config.validation import check_table, validate_as
from gradclip.errors import ConfigError, DataError, GradclipError, first_few, first_line
from gradclip.formatting import counted, csv_cell
from gradclip.tracking.files import whole_file
from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, result_of
from gradclip.tracking.records import MODEL_PARTS, Store
from gradclip.tracking.scratch import scratch_folder

if TYPE_CHECKING:
    import pandas as pd

    from gradclip.tracking.stored_runs import StoredRun
    from gradclip.training.predictor import Predictor


def run(config: DictConfig) -> None:
    """Predict the rows of a file and write them to another file with a column of predictions."""
    settings = validate_as(PredictSettings, config)
    check_table(settings.data.path)
    output = check_output(settings)
    store = Store.of(settings.tracking)
    opened = ask(store, Operations.check_readable)  # MLflow loads in its own process meanwhile
    from gradclip.data.files import read_file

    data = settings.data
    rows, _ = read_file(Path(data.path), data.delimiter, data.decimal, data.encoding)
    result_of(opened)
    stored = find_run(store, settings.run)
    setting = f"run: got {settings.run!r} ({stored.name})"
    with scratch_folder() as scratch:
        folder = result_of(ask(store, Operations.read_model, stored.run_id, str(scratch)))
        if folder is None:
            reasons = {"diverged": "a diverged run stores none", "": "it has not trained to its end"}
            why = reasons.get(stored.outcome, "train with log_model=true")
            raise ConfigError(f"{setting}; it has no stored model that predicts rows: {why}")
        with model_errors(setting):
            predictor = load_predictor(folder, settings.tracking, setting)
            table = with_predictions(rows, predictor, f"data.path: got {data.path!r}")
    try:
        with whole_file(output) as temporary:
            table.to_csv(temporary, index=False)
    except OSError as error:
        raise ConfigError(f"output: got {settings.output!r}; cannot be written: {error.strerror}") from error
    print(f"Predicted: {counted(len(table), 'row')}, column {table.columns[-1]}")
    print(f"Run: {stored.name} ({stored.run_id})\nFile: {output}")


def check_output(settings: PredictSettings) -> Path:
    """Return the file to write.

    Raises:
        ConfigError: it is the input file, a folder or a device, or its parent folder does not exist.
    """
    output = Path(os.path.realpath(Path(settings.output).expanduser()))  # replaces another file, but no link to it
    if str(output) == os.path.realpath(settings.data.path):
        raise ConfigError(f"output: got {settings.output!r}; that is the input file, data.path; choose another file")
    if (output.exists() and not output.is_file()) or not output.parent.is_dir():
        raise ConfigError(f"output: got {settings.output!r}; must be a file in a folder that exists")
    return output


def find_run(store: Store, run: str) -> "StoredRun":
    """Return the run with an id, or the newest run for ``last``.

    Raises:
        TrackingError: there is no such run.
    """
    if run == "last":
        return result_of(ask(store, Operations.read_newest_runs, 1))[0]
    return result_of(ask(store, Operations.read_run, run))


@contextmanager
def model_errors(setting: str) -> Iterator[None]:
    """Report every error of a stored model, whose files anyone may have written, as one line.

    Args:
        setting: setting and value with which the line begins.

    Raises:
        ConfigError: the model is damaged.
    """
    try:
        yield
    except GradclipError:
        raise
    except Exception as error:  # torch, skops, scikit-learn and a user's class raise many types
        raise ConfigError(f"{setting}; its stored model cannot be used: {first_line(error)}") from error


def load_predictor(folder: Path, tracking: TrackingSettings, setting: str) -> "Predictor":
    """Load a stored model with our own predictor, which runs no code that is stored with the model.

    Args:
        folder: files of the stored model, which anyone may have written.
        tracking: settings that say which classes of networks are trusted.
        setting: setting and value with which errors begin.

    Raises:
        ConfigError: the model does not take rows, or names a class that is not trusted.
        Exception: the model is damaged, see :func:`model_errors`.
    """
    from gradclip.training.predictor import Predictor

    network = json.loads((folder / "description").read_text())["network"]
    check_trusted([str(network["target"])], tracking, "the stored model")
    if len(network["example"]) != 1:
        raise ConfigError(f"{setting}; its model takes sequences, not rows: load it with mlflow.pyfunc.load_model")
    files = {part: str(folder / part) for part in MODEL_PARTS if (folder / part).exists()}
    predictor = Predictor()
    predictor.load_context(SimpleNamespace(artifacts=files))
    return predictor


def with_predictions(rows: "pd.DataFrame", predictor: "Predictor", setting: str) -> "pd.DataFrame":
    """Return rows with an added last column of predictions.

    Args:
        rows: rows of a file.
        predictor: the model.
        setting: setting and value with which errors begin.

    Raises:
        DataError: a column that the model needs is missing, or a cell is invalid.
        Exception: the model is damaged, see :func:`model_errors`.
    """
    about = predictor.about
    if absent := [repr(name) for name in about["columns"] if name not in rows]:
        raise DataError(f"{setting}; it has no column {first_few(absent)}, which the model was trained on")
    try:
        predicted: Any = predictor.predict(None, rows[about["columns"]])
    except DataError as error:
        raise DataError(f"{setting}; {error}") from error
    column = csv_cell(f"predicted_{about['target']}")
    return rows.assign(**{str(column): predicted.iloc[:, 0].map(csv_cell).to_numpy()})
