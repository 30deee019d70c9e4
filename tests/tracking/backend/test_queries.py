"""Stored runs are read in bulk as by MLflow's own calls."""

from dataclasses import replace

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Run, RunData, RunInfo, RunInputs

from gradclip import keys
from gradclip.scores import MSE
from gradclip.tracking.backend import queries
from gradclip.tracking.backend.operations import backend_of
from gradclip.tracking.backend.queries import to_stored_run
from gradclip.tracking.records import DatasetDescription, Parent
from tests.support.stores import make_store, write_run

INFO = RunInfo("0" * 32, "0", "user", "FINISHED", 0, 1000, "active")


@pytest.mark.parametrize(("context", "profile", "rows"), [
    ("validation", '{"num_rows": 27, "num_elements": 378}', {"validation": 27}),
    ("testing", '{"num_rows": 45}', {"test": 45}),
    ("validation", None, {}),
    ("validation", '{"num_rows": "27"}', {}),
    ("evaluation", '{"num_rows": 27}', {}),
])  # fmt: skip
def test_the_row_counts_of_a_run_are_read_from_its_data_sets(context, profile, rows):
    dataset = Dataset("wine", "0", "code", "{}", None, profile)
    inputs = RunInputs([DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])
    assert to_stored_run(Run(INFO, RunData(), inputs)).rows == rows
    assert to_stored_run(Run(INFO, RunData())).rows == {}


def test_reading_a_multirun_in_bulk_equals_reading_it_with_mlflow(tmp_path, monkeypatch):
    store, backend = make_store(tmp_path), backend_of(make_store(tmp_path))
    parent = Parent(str(tmp_path), "norm", {keys.CREATION: "0" * 32})
    errors = (1.0, float("nan"), float("inf"))
    ids = [write_run(store, error, seed, {}, [3.0, error, 2.0], parent) for seed, error in enumerate(errors)]
    backend.write_datasets(ids[0], [DatasetDescription("a", "1", "code", "{}", None, '{"num_rows": 5}', "training")])
    deleted = write_run(store, 1.0, 9, {}, parent=parent)
    MlflowClient(store.uri).delete_run(deleted)
    selector = MlflowClient(store.uri).get_run(ids[0]).data.tags[keys.PARENT_RUN]

    def read():
        selection = backend.select_runs(selector)
        curves = backend.read_curves([*ids, "f" * 32], MSE.by_epoch("test"), 2)
        plain = {run_id: (curve.step.tolist(), curve.value.tolist()) for run_id, curve in curves.items()}
        return selection._replace(runs=[without_nan(run) for run in selection.runs]), plain

    at_once, curves = read()
    monkeypatch.setattr(queries, "tables_of", lambda _: None)
    assert read() == (at_once, curves)
    assert [run.run_id for run in at_once.runs] == ids
    assert at_once.runs[0].rows == {"train": 5}
    assert curves == {ids[0]: ([1, 3], [3.0, 2.0]), ids[1]: ([1, 3], [3.0, 2.0]), ids[2]: ([1, 3], [3.0, 2.0])}


def without_nan(run):
    """Return a run without NaN, so that it equals itself."""
    return replace(run, metrics={key: "NaN" if np.isnan(value) else value for key, value in run.metrics.items()})
