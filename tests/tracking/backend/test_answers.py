"""Faulty responses of a real server delay a run only for a limited time and lose no writes."""

import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from gradclip import keys
from gradclip.errors import RefusedWriteError, TrackingError
from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, replay, result_of
from gradclip.tracking.records import SPOOL_FILE, Point, RunDescription, Store
from gradclip.tracking.run import TrackedRun
from gradclip.tracking.spool import REFUSED_FILE
from tests.support.faulty_server import faulty

RETRY_SECONDS = 2.0
BEGIN = ["pass"] * 4  # requests for the experiment, its creation, the run and its artifacts; /health always passes


def points(count: int) -> list[Point]:
    return [Point(keys.LOSS_STEP, 1.0 / step, step, step) for step in range(1, count + 1)]


def leave_file(folder: Path) -> None:
    """Create a file in a run's folder that is stored at the end of the run."""
    (folder / keys.EXPLOSION_TEXT).parent.mkdir()
    (folder / keys.EXPLOSION_TEXT).write_text("It exploded.\n")


@pytest.mark.parametrize("fault", ["later", "busy", "drip", "reset", "loop", "page", "login", "denied"])
def test_faulty_responses_delay_a_run_only_for_a_limited_time(server: str, tmp_path: Path, fault: str) -> None:
    with faulty(server, *BEGIN, *[fault] * 500) as address:
        run = TrackedRun(Store(address, "", fault, RETRY_SECONDS), fault, {}, tmp_path).begin()
        assert len(run.run_id) == 32
        start = time.monotonic()
        run.write_points(points(5))
        run.end("FINISHED")
        assert (
            time.monotonic() - start < 60
        )  # seconds for two deadlines on a busy machine; the response takes far longer
        assert run.unsent == 2
    with faulty(server, "pass", port=int(address.rpartition(":")[2])):
        assert result_of(replay(str(tmp_path))) == 2
    client = MlflowClient(server)
    assert client.get_run(run.run_id).info.status == "FINISHED"
    assert [(p.step, p.value) for p in client.get_metric_history(run.run_id, keys.LOSS_STEP)] == [
        (point.step, point.value) for point in points(5)
    ]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("pass", "there is no such run in "), ("login", "could not read run: .* 401"), ("page", "could not read run: ")],
)
def test_only_a_server_that_answers_can_say_that_there_is_no_such_run(server: str, fault: str, reason: str) -> None:
    with faulty(server, fault) as address, pytest.raises(TrackingError, match=reason):
        result_of(ask(Store(address, "", "absent"), Operations.read_run, "0" * 32))


def test_a_file_that_is_too_large_does_not_block_other_writes(server: str, tmp_path: Path) -> None:
    with faulty(server, "full") as address:
        leave_file(tmp_path)
        run = TrackedRun(Store(address, "", "full", RETRY_SECONDS), "full", {}, tmp_path).begin()
        run.write_run_files()
        run.write_points(points(5))
        run.end("FINISHED")
    assert "could not write run files: 413 Client Error" in str(run.refused)
    assert run.unsent == 0
    client = MlflowClient(server)
    assert client.get_run(run.run_id).info.status == "FINISHED"
    assert len(client.get_metric_history(run.run_id, keys.LOSS_STEP)) == 5


def test_a_file_that_is_too_large_does_not_block_the_other_writes_of_a_spool(server: str, tmp_path: Path) -> None:
    with faulty(server, *BEGIN, *["error"] * 500) as address:
        leave_file(tmp_path)
        run = TrackedRun(Store(address, "", "spooled", 0.5), "spooled", {}, tmp_path).begin()
        assert len(run.run_id) == 32
        run.write_run_files()
        run.write_points(points(5))
        run.end("FINISHED")
        assert run.unsent == 3
    with (
        faulty(server, "full", port=int(address.rpartition(":")[2])),
        pytest.raises(RefusedWriteError, match=r"1 of 3 writes of .* were refused for good, see refused\.jsonl: "),
    ):
        result_of(replay(str(tmp_path)))
    assert not (tmp_path / SPOOL_FILE).exists()
    assert (tmp_path / REFUSED_FILE).read_text().count("\n") == 1
    client = MlflowClient(server)
    assert client.get_run(run.run_id).info.status == "FINISHED"
    assert len(client.get_metric_history(run.run_id, keys.LOSS_STEP)) == 5


def test_a_server_that_accepts_writes_without_storing_them_is_detected(server: str, tmp_path: Path) -> None:
    with faulty(server, "deaf") as address:
        leave_file(tmp_path)
        run = TrackedRun(Store(address, "", "deaf", RETRY_SECONDS), "deaf", {}, tmp_path).begin()
        run.describe(RunDescription("text", {"seed": "0"}, []))
        run.write_run_files()
        run.write_points(points(5))
        run.end("FINISHED")
        assert run.unsent == 6
    client = MlflowClient(server)
    assert client.get_run(run.run_id).info.status == "RUNNING"
    with faulty(server, "pass", port=int(address.rpartition(":")[2])):
        assert result_of(replay(str(tmp_path))) == 6
    stored = client.get_run(run.run_id)
    assert (stored.info.status, stored.data.params) == ("FINISHED", {"seed": "0"})
    assert [entry.path for entry in client.list_artifacts(run.run_id)] == [keys.CONFIG_FILE, keys.EXPLOSION_FOLDER]
