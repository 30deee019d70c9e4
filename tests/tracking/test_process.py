"""A run loses nothing if its tracking process is killed, and MLflow sends no telemetry."""

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from unittest.mock import Mock

import pytest
from mlflow import MlflowClient

from gradclip import keys
from gradclip.errors import TrackingError
from gradclip.tracking import process
from gradclip.tracking.calls import RunAddress
from gradclip.tracking.process import SOCKET_TIMEOUT, _submit
from gradclip.tracking.records import SPOOL_FILE, Point, RunEnd
from gradclip.tracking.run import TrackedRun
from tests.conftest import ROOT
from tests.support.stores import make_store

END = RunEnd({}, {}, {}, 9, 9)
TELEMETRY = """
from gradclip.tracking.process import _perform
from gradclip.tracking.records import Store
assert _perform("delivery", "query", Store("http://127.0.0.1:1", "", ""), "is_read_only") is False
from mlflow.telemetry.client import get_telemetry_client
print(get_telemetry_client())
"""


def address_of(folder: Path) -> RunAddress:
    return RunAddress(make_store(folder.parent), "id", str(folder))


def test_mlflow_telemetry_is_disabled_before_mlflow_is_imported():
    only = {"PYTHONPATH": str(ROOT / "src")}  # MLflow disables telemetry if it sees variables of pytest or CI
    done = subprocess.run([sys.executable, "-c", TELEMETRY], capture_output=True, text=True, check=True, env=only)
    assert done.stdout == "None\n"


@pytest.mark.command  # two tracking processes load MLflow
def test_a_run_loses_nothing_if_the_tracking_process_is_killed(tmp_path: Path) -> None:
    store, tracking_process = make_store(tmp_path), _submit(os.getpid).result()
    run = TrackedRun(store, "killed at the start", {}, tmp_path / "run").begin()
    for step in range(1, 100):
        run.write_points([Point(keys.LOSS_STEP, 1.0, step, step)])
        if step == 50:
            os.kill(tracking_process, signal.SIGKILL)
    run.end("FINISHED")
    assert (run.unsent, [*tmp_path.rglob(SPOOL_FILE)]) == (0, [])
    client = MlflowClient(store.uri)
    (found,) = client.search_runs(["1"])
    assert (found.info.run_id, found.info.status) == (run.run_id, "FINISHED")
    assert [p.step for p in client.get_metric_history(run.run_id, keys.LOSS_STEP)] == list(range(1, 100))


def test_no_server_keeps_the_tracking_process_waiting_for_ever():
    assert _submit(socket.getdefaulttimeout).result() == SOCKET_TIMEOUT
    assert socket.getdefaulttimeout() is None


def test_the_tracking_process_does_not_run_the_users_script_again(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("from gradclip.tracking.process import _submit\nprint('trains', _submit(int).result())\n")
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT / "src")})  # fmt: skip
    assert done.stdout == "trains 0\n"


def test_runs_that_end_together_are_one_call_and_each_gets_its_own_outcome(monkeypatch, tmp_path):
    sent: list[tuple[object, ...]] = []
    done: Future[list[object]] = Future()
    monkeypatch.setattr(process, "_submit", lambda *call: (sent.append(call), done)[1])
    ends = [(address_of(tmp_path / name), END) for name in "ab"]
    results = process.complete_runs(ends)
    assert sent == [(process._perform, "batches", "complete_runs", ends)]
    done.set_result([0, TrackingError("refused")])
    assert results[0].result() == 0
    assert str(results[1].exception()) == "refused"


def test_no_tracking_process_is_started_for_no_runs(monkeypatch):
    monkeypatch.setattr(process, "_process", Mock(side_effect=AssertionError))
    assert process.begin_runs([]) == process.complete_runs([]) == []


def test_ends_of_runs_are_spooled_if_the_tracking_process_dies(monkeypatch, tmp_path):
    done: Future[list[object]] = Future()
    monkeypatch.setattr(process, "_submit", lambda *_: done)
    results = process.complete_runs([(address_of(tmp_path / name), END) for name in "ab"])
    done.set_exception(BrokenProcessPool("it died"))
    assert [result.result() for result in results] == [4, 4]
    assert all((tmp_path / name / SPOOL_FILE).exists() for name in "ab")
