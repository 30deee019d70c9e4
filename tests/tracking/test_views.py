"""A new experiment in the MLflow UI opens with gradclip's view."""

import json
import time

from mlflow import MlflowClient

from gradclip.tracking.backend.connection import Connection
from gradclip.tracking.records import Store
from gradclip.tracking.views import COLUMNS, view_address, view_tags


def test_a_new_experiment_has_the_view_that_its_address_opens(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts"), "viewed")
    tags = MlflowClient(store.uri).get_experiment(Connection(store).experiment_id).tags
    key = view_address("http://127.0.0.1:5000", "1").partition("viewStateShareKey=")[2]
    view = json.loads(tags[f"mlflow.sharedViewState.{key}"])
    assert view["name"] == "Clipping"
    assert 0 <= time.time() - view["createdAt"] / 1000 < 60
    state = json.loads(view["state"])
    assert tuple(state["selectedColumns"]) == COLUMNS
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == {
        section["uuid"] for section in state["compareRunSections"]
    }


def test_the_view_fits_into_a_tag_of_an_experiment():
    (value,) = view_tags(0).values()
    assert len(value) < 5000  # the limit of MLflow servers older than ours
