"""Runs that are written once they are over are as MLflow's own calls would write them."""

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag

from gradclip.errors import TrackingError
from gradclip.tracking.records import EndOfRun, StartOfRun, Store
from gradclip.tracking.stored_runs import Curve

CURVES = {key: Curve(np.array([1, 2]), np.array([4.0, -1e300])) for key in ("mse/train", "mse/test")}
SUMMARY = {"final/mse_test": 0.1, "infinite": np.inf, "mse/train": 3.0}
TAGS = {"outcome": "learned", "outcome.reason": "it fell"}


@pytest.fixture
def store(tmp_path):
    return Store(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts"), "tests")


def test_a_whole_run_is_as_mlflow_writes_it(store, tmp_path):
    from gradclip.tracking.backend import bulk as complete

    folder = tmp_path / "run"
    (folder / "telemetry").mkdir(parents=True)
    (folder / "telemetry" / "gradients.parquet").write_bytes(b"bytes")
    complete.remember_datasets(store, "rows", [])
    start = StartOfRun("mine", {"seed": "0"}, None, 5, {"clip.value": "1.0"}, "rows", str(folder))
    begun = complete.start_run(store, start)
    client = MlflowClient(store.uri)
    assert client.get_run(begun.run_id).info.status == "RUNNING"
    complete.complete_run(store, begun, EndOfRun(9, 7, CURVES, SUMMARY, TAGS, str(folder)))

    mine = client.get_run(begun.run_id)
    theirs = client.create_run(mine.info.experiment_id)
    points = [
        Metric(key, value, 7, step) for key, (_, values) in CURVES.items() for step, value in enumerate(values, 1)
    ]
    metrics = points + [Metric(key, value, 9, 0) for key, value in SUMMARY.items()]
    client.log_batch(theirs.info.run_id, metrics, tags=[RunTag(*tag) for tag in TAGS.items()])
    theirs = client.get_run(theirs.info.run_id)

    assert (mine.info.status, mine.info.start_time, mine.info.end_time) == ("FINISHED", 5, 9)
    assert mine.data.params == {"clip.value": "1.0"}
    assert mine.data.metrics == theirs.data.metrics
    assert {key: mine.data.tags[key] for key in TAGS} == {key: theirs.data.tags[key] for key in TAGS}
    for key in theirs.data.metrics:
        ours, expected = (client.get_metric_history(run.info.run_id, key) for run in (mine, theirs))
        assert [dict(point) for point in ours] == [dict(point) | {"run_id": None} for point in expected]
    assert [file.path for file in client.list_artifacts(begun.run_id, "telemetry")] == ["telemetry/gradients.parquet"]


def test_a_run_that_was_deleted_while_it_trained_is_told_and_not_written(store, tmp_path):
    from gradclip.tracking.backend import bulk as complete

    complete.remember_datasets(store, "rows", [])
    begun = complete.start_run(store, StartOfRun("mine", {}, None, 5, {}, "rows", str(tmp_path)))
    client = MlflowClient(store.uri)
    client.delete_run(begun.run_id)
    with pytest.raises(TrackingError, match="must be in the 'active' state"):
        complete.complete_run(store, begun, EndOfRun(9, 7, CURVES, SUMMARY, TAGS, str(tmp_path)))
    assert client.get_run(begun.run_id).info.status == "RUNNING"
    assert not client.get_run(begun.run_id).data.metrics
