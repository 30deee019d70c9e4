"""Runs whose end is inserted at once are as MLflow's own calls would write them."""

import warnings
from uuid import uuid4

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag
from sqlalchemy import text

from gradclip import keys
from gradclip.errors import TrackingError
from gradclip.tracking.operations import Operations
from gradclip.tracking.records import Call, RunEnd, Store
from gradclip.tracking.stored_runs import Curve

CURVES = {key: Curve(np.array([1, 2]), np.array([4.0, -1e300])) for key in ("mse/train", "mse/test")}
SUMMARY = {"final/mse_test": 0.1, "infinite": np.inf, "not a number": np.nan, "mse/train": 3.0}
TAGS = {"outcome": "learned", "outcome.reason": "it fell"}
END = RunEnd(CURVES, SUMMARY, TAGS, end=9, timestamp=7)


@pytest.fixture
def store(tmp_path):
    return Store(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts"), "tests")


def begin(store, folder):
    """A run that has begun: a call that names it, and its id."""
    from gradclip.tracking.backend import delivery

    creation = uuid4().hex
    arguments = ("mine", {"seed": "0", keys.CREATION: creation}, None, 5)
    call = Call(store, Operations.create_run.__name__, creation, arguments, str(folder))
    begun = delivery.begin_run(call, spool=False)
    delivery.deliver(call._replace(operation="write_parameters", arguments=({"clip.value": "1.0"},)))
    return call, begun.run_id


def test_a_whole_run_is_as_mlflow_writes_it(store, tmp_path):
    from gradclip.tracking.backend.delivery import complete_run

    folder = tmp_path / "run"
    (folder / "telemetry").mkdir(parents=True)
    (folder / "telemetry" / "gradients.parquet").write_bytes(b"bytes")
    call, run_id = begin(store, folder)
    client = MlflowClient(store.uri)
    assert client.get_run(run_id).info.status == "RUNNING"
    assert complete_run(call, END) == 0
    assert_as_mlflow_writes_it(client, run_id)
    assert [file.path for file in client.list_artifacts(run_id, "telemetry")] == ["telemetry/gradients.parquet"]


def assert_as_mlflow_writes_it(client, run_id):
    mine = client.get_run(run_id)
    theirs = client.create_run(mine.info.experiment_id)
    points = [
        Metric(key, value, 7, step) for key, (_, values) in CURVES.items() for step, value in enumerate(values, 1)
    ]
    metrics = points + [Metric(key, value, 9, 0) for key, value in SUMMARY.items()]
    client.log_batch(theirs.info.run_id, metrics, tags=[RunTag(*tag) for tag in TAGS.items()])
    theirs = client.get_run(theirs.info.run_id)

    assert (mine.info.status, mine.info.start_time, mine.info.end_time) == ("FINISHED", 5, 9)
    assert mine.data.params == {"clip.value": "1.0"}
    assert repr(sorted(mine.data.metrics.items())) == repr(sorted(theirs.data.metrics.items()))
    assert {key: mine.data.tags[key] for key in TAGS} == {key: theirs.data.tags[key] for key in TAGS}
    for key in theirs.data.metrics:
        ours, expected = (client.get_metric_history(run.info.run_id, key) for run in (mine, theirs))
        assert repr([dict(point) for point in ours]) == repr([dict(point) | {"run_id": None} for point in expected])


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE metrics ADD COLUMN unit VARCHAR(8) NOT NULL DEFAULT ''",
        "ALTER TABLE tags RENAME COLUMN key TO name",
    ],
)
def test_tables_of_another_mlflow_are_compared_first(store, tmp_path, change):
    from gradclip.tracking.backend.bulk_insert import insert_end
    from gradclip.tracking.backend.database import engine_of

    _, run_id = begin(store, tmp_path / "run")
    with engine_of(store.uri).begin() as connection:
        connection.execute(text(change))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        written = insert_end(store.uri, run_id, END)
    if "RENAME" in change:
        assert not written
        assert "MLflow's table tags has changed (key); runs are written call by call" in str(caught[0].message)
    else:  # a column with a default changes nothing
        assert (written, caught) == (True, [])


def test_a_table_with_a_new_column_that_has_to_be_filled_is_written_by_mlflows_own_calls(store, tmp_path):
    from gradclip.tracking.backend.bulk_insert import tables_of
    from gradclip.tracking.backend.database import engine_of
    from gradclip.tracking.backend.delivery import complete_run

    call, run_id = begin(store, tmp_path / "run")
    with engine_of(store.uri).begin() as connection:
        connection.execute(text("ALTER TABLE tags RENAME TO old_tags"))
        connection.execute(text("CREATE TABLE tags AS SELECT * FROM old_tags"))
        connection.execute(text("ALTER TABLE latest_metrics ADD COLUMN unit VARCHAR(8)"))
    tables_of.cache_clear()
    assert complete_run(call, END) == 0  # a column that may be empty is left empty
    assert MlflowClient(store.uri).get_run(run_id).info.status == "FINISHED"


def test_a_run_that_was_deleted_while_it_trained_is_reported_and_not_written(store, tmp_path):
    from gradclip.tracking.backend.delivery import complete_run

    call, run_id = begin(store, tmp_path / "run")
    client = MlflowClient(store.uri)
    client.delete_run(run_id)
    with pytest.raises(TrackingError, match="must be in the 'active' state"):
        complete_run(call, END)
    assert client.get_run(run_id).info.status == "RUNNING"
    assert not client.get_run(run_id).data.metrics
