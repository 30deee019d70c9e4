"""What the tracking process writes to MLflow is stored completely, shortened where the store has a limit."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.utils.validation import MAX_DATASET_NAME_SIZE, MAX_PARAM_VAL_LENGTH, MAX_TAG_VAL_LENGTH

from gradclip.errors import AbsentStoreError, TrackingError
from gradclip.tracking.logger import RunLogger
from gradclip.tracking.records import Dataset, Parent, Point, Store
from gradclip.tracking.run import TrackedRun

WRITERS, POINTS, PARAMETERS = 4, 2500, 230


@pytest.fixture
def store(tmp_path):
    return Store(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts"), "tests")


def points(count):
    return [Point("loss/step", 1.0 / step, 1, step) for step in range(1, count + 1)]


def write_one_run(store, number):
    from gradclip.tracking.backend.operations import Backend

    backend = Backend(store)
    run_id = backend.create_run(f"run {number}", {}, None, None)
    backend.write_parameters(run_id, {f"parameter.{index}": str(number) for index in range(PARAMETERS)})
    backend.write_points(run_id, points(POINTS))
    backend.end_run(run_id, "FINISHED")
    return run_id


def test_an_incomplete_file_is_not_an_artifact(store, tmp_path, monkeypatch):
    from gradclip.tracking.backend.operations import Backend

    backend, listed = Backend(store), []
    run_id = backend.create_run("run", {}, None, None)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "name.txt").write_text("half")

    def copy_half(_, target):
        target.write_bytes(b"ha")
        listed.append(backend.client.list_artifacts(run_id))
        raise OSError("the disk is full")

    monkeypatch.setattr("shutil.copyfile", copy_half)
    with pytest.raises(OSError, match="the disk is full"):
        backend.write_files(run_id, str(tmp_path / "files"))
    assert listed == [[]]
    assert not [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]


def test_a_text_is_written_directly_to_local_artifacts(store, monkeypatch):
    from gradclip.tracking.backend import writes

    monkeypatch.setattr(writes, "scratch_folder", lambda: pytest.fail("created a temporary folder"))
    backend = writes.Writes(store)
    run_id = backend.create_run("run", {}, None, None)
    backend.write_text(run_id, "text", "inner/name.txt")
    artifacts = backend.local_artifacts_of(run_id)
    assert (artifacts / "inner" / "name.txt").read_text() == "text"
    assert [entry.path for entry in backend.client.list_artifacts(run_id, "inner")] == ["inner/name.txt"]


@pytest.mark.command  # each writer loads MLflow
def test_concurrent_writers_of_a_new_store_lose_nothing(store):
    with ProcessPoolExecutor(WRITERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        run_ids = list(pool.map(write_one_run, [store] * WRITERS, range(WRITERS)))
    client = MlflowClient(store.uri)
    (experiment,) = [found for found in client.search_experiments() if found.name == "tests"]
    assert {run.info.run_id for run in client.search_runs([experiment.experiment_id])} == set(run_ids)
    for number, run_id in enumerate(run_ids):
        run = client.get_run(run_id)
        assert run.info.status == "FINISHED"
        assert run.data.params == {f"parameter.{place}": str(number) for place in range(PARAMETERS)}
        history = client.get_metric_history(run_id, "loss/step")
        assert [(point.step, point.value) for point in history] == [(p.step, p.value) for p in points(POINTS)]


def test_points_logged_one_by_one_are_all_stored_when_the_run_has_ended(store, tmp_path):
    run = TrackedRun(store, "by logger", {"seed": "0"}, tmp_path).begin()
    logger = RunLogger(run)
    for point in points(POINTS):
        logger.log_metrics({point.key: point.value}, step=point.step)
    logger.finalize("success")
    run.end("FINISHED")
    history = MlflowClient(store.uri).get_metric_history(run.run_id, "loss/step")
    assert [(point.step, point.value) for point in history] == [(p.step, p.value) for p in points(POINTS)]


def test_runs_of_one_multirun_share_a_parent(store, tmp_path):
    parent = Parent(str(tmp_path), "a sweep", {"command": "python src/train.py -m seed=0,1"})
    runs = [TrackedRun(store, f"job {number}", {}, tmp_path, parent).begin() for number in range(2)]
    run_ids = [run.run_id for run in runs]
    client = MlflowClient(store.uri)
    (parent_id,) = {client.get_run(run_id).data.tags["mlflow.parentRunId"] for run_id in run_ids}
    assert client.get_run(parent_id).info.run_name == "a sweep"


@pytest.mark.parametrize("other", [{"experiment": "others"}, {"uri": "sqlite:///{folder}/other.db"}])
def test_jobs_of_one_multirun_in_different_stores_are_refused(store, tmp_path, other):
    parent = Parent(str(tmp_path), "a sweep", {})
    TrackedRun(store, "job 0", {}, tmp_path / "0", parent).begin().end("FINISHED")
    elsewhere = store._replace(**{name: value.format(folder=tmp_path) for name, value in other.items()})
    with pytest.raises(TrackingError, match=r"^tracking\.uri: got .*; the first job .* need the same store and "):
        TrackedRun(elsewhere, "job 1", {}, tmp_path / "1", parent).begin().wait()


def test_a_refused_write_is_known_at_the_end(store, tmp_path):
    run = TrackedRun(store, "gone", {}, tmp_path).begin()
    run_id = run.run_id
    MlflowClient(store.uri).delete_run(run_id)
    run.write_points(points(1))
    run.wait()
    assert "could not write points" in str(run.refused)


def test_reading_a_curve_does_not_scan_the_points_of_other_runs(store):
    from gradclip.tracking.backend.database import analyze, engine_of
    from gradclip.tracking.backend.operations import Backend

    backend = Backend(store)
    for number in range(30):
        backend.write_points(backend.create_run(f"run {number}", {}, None, None), points(10))
    analyze(store.uri)
    engine = engine_of(store.uri)
    query = "SELECT key, value, timestamp, step, is_nan, run_uuid FROM metrics WHERE run_uuid = 'a' AND key = 'b'"
    with engine.connect() as connection:
        (plan,) = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")
    assert "run_uuid=? AND key=?" in plan[3]


def test_text_that_is_too_long_for_the_store_is_shortened(store):
    from gradclip.tracking.backend.operations import Backend

    backend, text = Backend(store), "".join(f"{number} " for number in range(3000))
    run_id = backend.create_run(f"{text}seed=0", {"command": text}, None, None)
    backend.write_parameters(run_id, {"data.features": text})
    backend.write_summary(run_id, {}, {"diverged_in": text}, timestamp=0)
    run = MlflowClient(store.uri).get_run(run_id)
    assert (len(run.info.run_name), len(run.data.params["data.features"])) == (250, MAX_PARAM_VAL_LENGTH)
    assert {len(run.data.tags[name]) for name in ("command", "diverged_in")} == {MAX_TAG_VAL_LENGTH}
    assert run.info.run_name.startswith("0 1 2 ")
    assert run.info.run_name.endswith("2999 seed=0")
    assert "…" in run.info.run_name


def test_a_schema_that_is_too_long_for_the_store_is_omitted(store):
    from gradclip.tracking.backend.operations import Backend

    frame = pd.DataFrame(np.zeros((4, 2)), columns=["x" * 600_000, "y" * 600_000])
    (described,) = Backend(store).describe_datasets([Dataset("n" * 600, "source", frame.columns[0], "training", frame)])
    assert described.schema is None
    assert len(described.name) == MAX_DATASET_NAME_SIZE
    run_id = Backend(store).create_run("run", {}, None, None)
    Backend(store).write_datasets(run_id, [described])
    assert MlflowClient(store.uri).get_run(run_id).inputs.dataset_inputs


@pytest.mark.parametrize("kind", ["folder", "pipe"])
@pytest.mark.parametrize("operation", ["open", "check_readable"])
def test_a_store_that_is_not_a_file_is_refused(tmp_path, kind, operation):
    from gradclip.tracking.backend.operations import Backend

    path = tmp_path / "store"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(TrackingError, match="that is not a file"):
        getattr(Backend(Store(f"sqlite:///{path}", str(tmp_path / "artifacts"), "tests")), operation)()


def test_an_artifact_folder_that_is_a_loop_of_links_is_refused(tmp_path):
    from gradclip.tracking.backend.operations import Backend

    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(AbsentStoreError, match=r"^tracking.uri: got .*; cannot be opened: \[Errno 17\] File exists"):
        Backend(Store(f"sqlite:///{tmp_path}/mlflow.db", str(loop), "tests")).open()


def test_an_artifact_folder_with_a_path_too_long_for_a_database_is_refused(tmp_path):
    from gradclip.tracking.backend.operations import Backend

    folder = tmp_path / ("a" * 200)
    with pytest.raises(TrackingError, match=r"^tracking.artifacts: got .*; its URI may have at most 157 char"):
        Backend(Store("postgresql://127.0.0.1:9/x", str(folder), "tests")).open()
    assert not folder.exists()
