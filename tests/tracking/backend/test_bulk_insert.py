"""Bulk inserts write runs exactly as MLflow's own calls do."""

import warnings
from pathlib import Path
from unittest.mock import Mock
from uuid import uuid4

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag
from sqlalchemy import text

from gradclip import keys
from gradclip.errors import TrackingError
from gradclip.tracking.calls import RunAddress
from gradclip.tracking.operations import Operations
from gradclip.tracking.records import BegunRun, Call, DatasetDescription, Parent, RunEnd, RunStart, Store
from gradclip.tracking.stored_runs import Curve

CURVES = {key: Curve(np.array([1, 2]), np.array([4.0, -1e300])) for key in ("mse/train", "mse/test")}
SUMMARY = {"final/mse_test": 0.1, "infinite": np.inf, "not a number": np.nan, "mse/train": 3.0}
TAGS = {"outcome": "learned", "outcome.reason": "it fell"}
END = RunEnd(CURVES, SUMMARY, TAGS, end=9, timestamp=7)


@pytest.fixture
def store(tmp_path):
    return Store(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts"), "tests")


def begin(store, folder):
    """Begin a run; return its address and its id."""
    from gradclip.tracking.backend import delivery

    creation = uuid4().hex
    arguments = ("mine", {"seed": "0", keys.CREATION: creation}, None, 5)
    call = Call(store, Operations.create_run.__name__, creation, arguments, str(folder))
    begun = delivery.begin_run(call)
    delivery.deliver(call._replace(operation="write_parameters", arguments=({"clip.value": "1.0"},)))
    return RunAddress(store, creation, str(folder)), begun.run_id


def test_a_whole_run_is_stored_as_mlflow_writes_it(store, tmp_path, monkeypatch):
    from gradclip.tracking.backend import batches

    folder = tmp_path / "run"
    (folder / "telemetry").mkdir(parents=True)
    (folder / "telemetry" / "gradients.parquet").write_bytes(b"bytes")
    run, run_id = begin(store, folder)
    client = MlflowClient(store.uri)
    assert client.get_run(run_id).info.status == "RUNNING"
    monkeypatch.setattr(batches, "deliver", delivered := Mock(wraps=batches.deliver))
    assert batches.complete_runs([(run, END)]) == [0]
    assert delivered.call_count == 1  # only the files
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
    ("change", "warned"),
    [
        ("ALTER TABLE metrics ADD COLUMN unit VARCHAR(8) NOT NULL DEFAULT ''", []),  # a default fills the column
        (
            "ALTER TABLE tags RENAME COLUMN key TO name",
            ["MLflow's table tags has changed (key); runs are written and read one by one, slowly"],
        ),
    ],
)
def test_changed_tables_of_another_mlflow_version_are_detected(store, tmp_path, change, warned):
    from gradclip.tracking.backend.bulk_insert import insert_ends
    from gradclip.tracking.backend.database import engine_of

    _, run_id = begin(store, tmp_path / "run")
    with engine_of(store.uri).begin() as connection:
        connection.execute(text(change))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        written = insert_ends(store.uri, [(run_id, END)])
    assert written == (not warned)
    assert [str(warning.message) for warning in caught] == warned


def test_a_table_with_a_new_nullable_column_is_written(store, tmp_path):
    from gradclip.tracking.backend.batches import complete_runs
    from gradclip.tracking.backend.database import engine_of
    from gradclip.tracking.backend.tables import tables_of

    run, run_id = begin(store, tmp_path / "run")
    with engine_of(store.uri).begin() as connection:
        connection.execute(text("ALTER TABLE tags RENAME TO old_tags"))
        connection.execute(text("CREATE TABLE tags AS SELECT * FROM old_tags"))
        connection.execute(text("ALTER TABLE latest_metrics ADD COLUMN unit VARCHAR(8)"))
    tables_of.cache_clear()
    assert complete_runs([(run, END)]) == [0]  # a nullable column stays empty
    assert MlflowClient(store.uri).get_run(run_id).info.status == "FINISHED"


def test_a_run_that_was_deleted_while_it_trained_is_reported_and_not_written(store, tmp_path):
    from gradclip.tracking.backend.batches import complete_runs

    run, run_id = begin(store, tmp_path / "run")
    client = MlflowClient(store.uri)
    client.delete_run(run_id)
    (error,) = complete_runs([(run, END)])
    assert isinstance(error, TrackingError)
    assert "must be in the 'active' state" in str(error)
    assert client.get_run(run_id).info.status == "RUNNING"
    assert not client.get_run(run_id).data.metrics


DATASETS = [DatasetDescription("rows", "digest", "code", "{}", None, None, "training")]


def starts_of(store, folder, count):
    """Return the writes that begin ``count`` runs."""
    parent = Parent(str(folder), "parent", {"kind": "multirun"})
    starts = []
    for number in range(count):
        creation = uuid4().hex
        tags = {"seed": str(number), keys.CREATION: creation}
        create = Call(
            store, "create_run", creation, (f"run {number}", tags, parent, 5 + number), str(folder / creation)
        )
        described = {
            "write_text": (f"text {number}", "config.yaml"),
            "write_parameters": ({"clip.value": str(number)},),
            "write_datasets": (DATASETS,),
        }
        writes = (create._replace(operation=name, arguments=value) for name, value in described.items())
        starts.append(RunStart(create, *writes))
    return starts


def content_of(client, run_id):
    """Return the stored content of a run except its ids and the location of its artifacts."""
    run = client.get_run(run_id)
    datasets = run.inputs.dataset_inputs
    inputs = [(one.dataset.to_dictionary(), [dict(tag) for tag in one.tags]) for one in datasets]
    info = {key: value for key, value in dict(run.info).items() if key not in {"run_id", "run_uuid", "artifact_uri"}}
    return info, {k: v for k, v in run.data.tags.items() if k != keys.CREATION}, run.data.params, inputs


def test_runs_that_begin_together_equal_runs_that_begin_one_by_one(store, tmp_path, monkeypatch):
    from gradclip.tracking.backend import batches

    client, folder = MlflowClient(store.uri), tmp_path / "together"
    monkeypatch.setattr(batches, "deliver", delivered := Mock(wraps=batches.deliver))
    alone = batches.begin_runs(starts_of(store, folder, 3), repeated=True)  # runs that may exist, begun one by one
    assert delivered.call_count == 9
    begun = batches.begin_runs(starts_of(store, folder, 3), repeated=False)
    assert delivered.call_count == 9 + 5  # the description of the first run, and the configs of the others
    for one, other in zip(begun, alone, strict=True):
        assert content_of(client, one.run_id) == content_of(client, other.run_id)
        assert client.get_run(one.run_id).info.artifact_uri.endswith(f"{one.run_id}/artifacts")
        assert [file.path for file in client.list_artifacts(one.run_id)] == ["config.yaml"]
    assert len({one.run_id for one in begun}) == 3


def test_a_failed_bulk_start_is_rolled_back_and_repeated(store, tmp_path, monkeypatch):
    from gradclip.tracking.backend import bulk_insert
    from gradclip.tracking.backend.batches import begin_runs

    def fail(connection, table, columns, rows):
        insert(connection, table, columns, rows)
        if table.name == "params":
            raise OSError("the disk is full")

    insert = bulk_insert._insert
    monkeypatch.setattr(bulk_insert, "_insert", fail)
    begun = begin_runs(starts_of(store, tmp_path / "runs", 3), repeated=False)
    client = MlflowClient(store.uri)
    found = client.search_runs([begun[0].experiment_id], "params.`clip.value` != ''")
    assert {run.info.run_id for run in found} == {one.run_id for one in begun}


def test_a_folder_that_cannot_be_written_fails_only_its_own_run(store, tmp_path):
    from gradclip.tracking.backend.batches import begin_runs

    starts = starts_of(store, tmp_path, 4)
    Path(starts[2].create.folder).write_text("no folder")
    begun = begin_runs(starts, repeated=False)
    assert [isinstance(one, OSError) for one in begun] == [False, False, True, False]
    artifacts = [MlflowClient(store.uri).list_artifacts(one.run_id) for one in begun if isinstance(one, BegunRun)]
    assert [[file.path for file in files] for files in artifacts] == [["config.yaml"]] * 3


def test_no_run_is_inserted_like_one_whose_creation_is_spooled(store, tmp_path):
    from gradclip.tracking.backend.batches import _insert_like

    first, *others = starts_of(store, tmp_path, 3)
    assert _insert_like(first, BegunRun(None, first.create.run_id), others) == {}


def test_an_error_while_a_run_is_set_to_failed_does_not_block_other_runs(store, tmp_path, monkeypatch):
    from gradclip.tracking.backend import batches

    def fail(call):
        if call.folder.endswith("full"):
            raise OSError("the disk is full")
        return 0

    monkeypatch.setattr(batches, "deliver", fail)
    monkeypatch.setattr(batches, "_insert_ends", lambda *_: False)
    runs = [RunAddress(store, uuid4().hex, str(tmp_path / name)) for name in ("full", "other")]
    full, other = batches.complete_runs([(run, END) for run in runs])
    assert (str(full), other) == ("the disk is full", 0)


def test_a_deleted_run_does_not_block_other_runs_that_end_together(store, tmp_path):
    from gradclip.tracking.backend.batches import complete_runs

    client = MlflowClient(store.uri)
    (deleted, gone), (run, run_id) = begin(store, tmp_path / "a"), begin(store, tmp_path / "b")
    client.delete_run(gone)
    outcomes = complete_runs([(deleted, END), (run, END)])
    assert "must be in the 'active' state" in str(outcomes[0])
    assert outcomes[1] == 0
    assert_as_mlflow_writes_it(client, run_id)


def test_an_interrupt_is_raised_instead_of_returned_as_the_error_of_a_run(store, tmp_path, monkeypatch):
    from gradclip.tracking.backend import batches

    def interrupt(call):
        if call.operation != Operations.end_run.__name__:
            raise KeyboardInterrupt

    monkeypatch.setattr(batches, "deliver", interrupt)
    run = RunAddress(store, uuid4().hex, str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        batches.complete_runs([(run, END)])


def test_rows_inserted_together_reach_the_file_at_the_end_of_the_transaction(store, tmp_path):
    from gradclip.tracking.backend import bulk_insert

    _, run_id = begin(store, tmp_path)
    database, rows = tmp_path / "mlflow.db", [(f"key {number}", "x" * 4000, run_id) for number in range(2000)]
    size = database.stat().st_size
    with bulk_insert._transaction(store.uri) as connection:
        connection.exec_driver_sql("INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)", rows)
        assert database.stat().st_size == size
    assert database.stat().st_size > size + 2000 * 4000
