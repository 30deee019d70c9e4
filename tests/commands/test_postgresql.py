"""A PostgreSQL store loses no points when it is killed and restarted, and no password is printed or stored."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from gradclip import keys
from gradclip.tracking.run import TrackedRun
from tests.conftest import Command, sync
from tests.support.mlflow_server import Server
from tests.support.postgresql import PostgreSQL, is_installed
from tests.tracking.backend.test_delivery import POINTS, steps_of, store_of, write

pytest.importorskip("psycopg2")
pytestmark = pytest.mark.skipif(not is_installed(), reason="PostgreSQL is not installed")


@pytest.fixture(scope="module")
def database() -> Iterator[PostgreSQL]:
    folder = Path(tempfile.mkdtemp())  # PostgreSQL's user has no access to pytest's folders
    folder.chmod(0o755)
    database = PostgreSQL(folder)
    database.start()
    yield database
    database.kill()
    shutil.rmtree(folder)


@pytest.fixture
def server(database: PostgreSQL, tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, database.uri)
    server.start()
    yield server
    server.stop()


def test_points_wait_while_server_and_database_are_down(server: Server, database: PostgreSQL, tmp_path: Path) -> None:
    run = TrackedRun(store_of(server, 300.0), "outage", {}, tmp_path / "run").begin()
    write(run, range(1, 100))
    assert len(run.run_id) == 32  # waits until the run is created
    database.kill()  # the server answers 500
    write(run, range(100, 150))
    database.start()
    write(run, range(150, 200))
    server.kill()
    write(run, range(200, 250))
    server.start()
    write(run, range(250, POINTS + 1))
    run.end("FINISHED")
    assert run.unsent == 0
    assert steps_of(server, run.run_id) == list(range(1, POINTS + 1))
    assert MlflowClient(server.uri).get_run(run.run_id).info.status == "FINISHED"


def test_a_run_can_be_tracked_by_the_database_without_a_server(
    train: Command, database: PostgreSQL, tmp_path: Path
) -> None:
    tracking = (f"tracking.uri={database.uri}", f"tracking.artifacts={tmp_path}/artifacts", "tracking.experiment=alone")
    settings = ("trainer=debug", "clip=norm", "figures=false", *tracking)
    done = train(*settings)
    assert done.returncode == 0, done.stderr
    client = MlflowClient(database.uri)
    (run,) = client.search_runs([client.get_experiment_by_name("alone").experiment_id])
    assert run.info.status == "FINISHED"
    assert len(client.get_metric_history(run.info.run_id, keys.GRAD_NORM)) == 48
    database.kill()
    absent = train(*settings)
    database.start()
    assert (absent.returncode, absent.stderr.count("\n")) == (2, 1), absent.stderr
    assert absent.stderr.startswith(f"error: tracking.uri: got '{database.uri}'; cannot be opened: ")


def test_a_password_is_neither_printed_nor_stored_and_is_needed_again(
    train: Command, database: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = database.add_user("ada", "s3cret")
    tracking = (f"tracking.uri={uri}", f"tracking.artifacts={tmp_path}/artifacts", "tracking.experiment=secret")
    settings = ("trainer=debug", "clip=norm", "figures=false", "log_model=false", *tracking)
    done = train("-m", "seed=0,1", *settings, f"hydra.sweep.dir={tmp_path}/multirun")
    assert done.returncode == 0, done.stderr
    database.kill()
    absent = ("tracking.spool_if_absent=true", "tracking.retry_seconds=0.1", f"hydra.run.dir={tmp_path}/run")
    later = train(*settings, *absent)
    database.start()
    assert later.returncode == 0, later.stderr
    waiting = f"no password supplied; the writes in {tmp_path / 'run'} still wait\n"
    assert sync(tmp_path / "run").stderr.endswith(waiting)
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    sent = sync(tmp_path / "run")
    assert sent.stdout.startswith("Sent "), sent.stderr
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("secret").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 4  # two jobs, their parent, and the run sent later
    printed = [text for one in (done, later, sent) for text in (one.stdout, one.stderr)]
    kept = [text for run in runs for pair in (run.data.tags | run.data.params).items() for text in pair]
    assert not [text for text in [*printed, *kept] if "s3cret" in text]
    assert len(written) > 10
    assert not [text for text in written if b"s3cret" in text]
