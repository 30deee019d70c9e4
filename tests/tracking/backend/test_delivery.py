"""No writes are lost while a real server is down or hangs."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from gradclip import keys
from gradclip.tracking.records import SPOOL_FILE, Call, Point, RunDescription, Store
from gradclip.tracking.run import TrackedRun
from tests.conftest import Command, sync
from tests.support.mlflow_server import Server, free_port

POINTS = 300


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()


def write(run: TrackedRun, steps: range) -> None:
    for step in steps:
        run.write_points([Point(keys.LOSS_STEP, 1.0 / step, time.time_ns() // 1_000_000, step)])


def steps_of(server: Server, run_id: str) -> list[int]:
    return [point.step for point in MlflowClient(server.uri).get_metric_history(run_id, keys.LOSS_STEP)]


def store_of(server: Server, retry_seconds: float) -> Store:
    return Store(server.uri, "", "outages", retry_seconds)


def test_points_wait_until_a_killed_server_is_restarted(server: Server, tmp_path: Path) -> None:
    run = TrackedRun(store_of(server, 300.0), "outage", {}, tmp_path).begin()
    write(run, range(1, 100))
    assert len(run.run_id) == 32  # the run exists in the store
    server.kill()
    write(run, range(100, 200))
    time.sleep(1.0)
    server.start()
    write(run, range(200, POINTS + 1))
    run.end("FINISHED")
    assert run.unsent == 0
    assert steps_of(server, run.run_id) == list(range(1, POINTS + 1))


def test_writes_that_a_server_does_not_accept_are_spooled_and_sent_exactly_once(server: Server, tmp_path: Path) -> None:
    run = TrackedRun(store_of(server, 0.5), "spooled", {"seed": "3"}, tmp_path).begin()
    write(run, range(1, 20))
    run.wait()
    server.kill()
    write(run, range(20, 40))
    run.describe(RunDescription("hidden", {}, []))
    run.end("FINISHED")
    assert run.unsent == 24
    assert (tmp_path / SPOOL_FILE).exists()
    refused = sync(tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert refused.stderr.startswith(f"error: tracking.uri: got '{server.uri}'; could not write points: ")
    assert refused.stderr.endswith(f"; the writes in {tmp_path} still wait\n")
    server.start()
    spooled = (tmp_path / SPOOL_FILE).read_text()
    assert sync(tmp_path).stdout == f"Sent 24 writes from {tmp_path}\n"
    (tmp_path / SPOOL_FILE).write_text(spooled)  # as after a power loss before the file was removed
    assert sync(tmp_path).returncode == 0
    assert steps_of(server, run.run_id) == list(range(1, 40))
    client = MlflowClient(server.uri)
    assert client.get_run(run.run_id).info.status == "FINISHED"
    assert Path(client.download_artifacts(run.run_id, keys.CONFIG_FILE)).read_text() == "hidden"
    assert sync(tmp_path).stdout == f"Nothing to send below {tmp_path}\n"


def test_all_runs_share_one_retry_budget_if_the_store_is_down(tmp_path: Path) -> None:
    from gradclip.tracking.backend.delivery import deliver

    store, start = Store(f"http://127.0.0.1:{free_port()}", "", "gone", retry_seconds=1.0), time.monotonic()
    for number in range(10):
        deliver(Call(store, "write_text", "0" * 32, ("some", "note.txt"), str(tmp_path / str(number))))
    assert 0.3 < time.monotonic() - start < 10.0  # seconds, less than ten retry budgets
    assert len([*tmp_path.glob(f"*/{SPOOL_FILE}")]) == 10


def test_a_run_that_began_without_a_store_continues_once_the_store_is_back(server: Server, tmp_path: Path) -> None:
    server.kill()
    store = store_of(server, 0.1)._replace(spool_if_absent=True, experiment="late")
    run = TrackedRun(store, "late", {}, tmp_path).begin()
    assert run.begun.experiment_id is None
    server.start()
    for step in range(1, 5):
        write(run, range(step, step + 1))
        time.sleep(0.8)  # until the spool is replayed between two writes
    run.end("FINISHED")
    assert run.unsent == 0
    client = MlflowClient(server.uri)
    (found,) = client.search_runs([client.get_experiment_by_name("late").experiment_id])
    assert (found.info.status, steps_of(server, found.info.run_id)) == ("FINISHED", list(range(1, 5)))


def test_a_whole_run_without_a_store_is_sent_later(train: Command, server: Server, tmp_path: Path) -> None:
    server.kill()
    done = train(
        *("trainer=debug", "clip=norm", f"tracking.uri={server.uri}", "tracking.spool_if_absent=true"),
        *("tracking.experiment=later", "figures=false", f"hydra.run.dir={tmp_path}/run", "tracking.retry_seconds=0.1"),
    )
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    assert line.startswith("Unsent: the store did not accept ")
    server.start()
    assert sync(tmp_path).returncode == 0
    client = MlflowClient(server.uri)
    (run,) = client.search_runs([client.get_experiment_by_name("later").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["clip.value"] == "1.0"
    assert len(client.get_metric_history(run.info.run_id, keys.GRAD_NORM)) == 48
    assert len(run.inputs.dataset_inputs) == 2
    assert len(run.outputs.model_outputs) == 1


def test_a_multirun_without_a_store_is_sent_later_and_its_parent_run_ended(
    train: Command, server: Server, tmp_path: Path
) -> None:
    server.kill()
    done = train(
        *("-m", "seed=0,1", "trainer=debug", "clip=norm", "figures=false", "log_model=false"),
        *(f"tracking.uri={server.uri}", "tracking.spool_if_absent=true", "tracking.retry_seconds=0.1"),
        *("tracking.experiment=sweeps_later", f"hydra.sweep.dir={tmp_path}/multirun"),
    )
    server.start()
    assert done.returncode == 0, done.stderr
    assert f" writes; they wait in {tmp_path}/multirun. Send them: " in done.stdout
    assert sync(tmp_path).returncode == 0
    client = MlflowClient(server.uri)
    runs = client.search_runs([client.get_experiment_by_name("sweeps_later").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    (parent,) = {run.data.tags[keys.PARENT_RUN] for run in runs if keys.PARENT_RUN in run.data.tags}
    assert parent in {run.info.run_id for run in runs}


def test_a_server_that_hangs_does_not_delay_training(server: Server, tmp_path: Path) -> None:
    run = TrackedRun(store_of(server, 60.0), "hang", {}, tmp_path).begin()
    assert len(run.run_id) == 32
    os.killpg(server.process.pid, signal.SIGSTOP)
    start = time.monotonic()
    write(run, range(1, POINTS))
    assert time.monotonic() - start < 20.0  # seconds; a write that waited for its response would take 60
    os.killpg(server.process.pid, signal.SIGCONT)
    run.end("FINISHED")
    assert steps_of(server, run.run_id) == list(range(1, POINTS))
