"""A read-only, full or deleted store, or one of a newer MLflow, ends a command in one line and loses nothing."""

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from gradclip import keys
from gradclip.scores import MSE
from gradclip.tracking.records import SPOOL_FILE, Call, Point
from gradclip.tracking.spool import Spool
from tests.conftest import Command, sync
from tests.support.stores import make_store, write_run

Mount = Callable[..., Path]
RUN = ("trainer=debug", "clip=norm", "figures=false", "log_model=false", "trainer.progress_bar=false")


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount a small disk, or a folder at a second path; skip the test if not root."""
    folder = tmp_path / "disk"

    def begin(*what: str) -> Path:
        folder.mkdir()
        if os.geteuid() or subprocess.run(["mount", *what, str(folder)], capture_output=True, check=False).returncode:
            pytest.skip("only root can mount a disk")
        return folder

    yield begin
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


def small(size: str) -> tuple[str, ...]:
    return "-t", "tmpfs", "-o", f"size={size}", "tmpfs"


def at(folder: Path) -> tuple[str, str]:
    return f"tracking.uri=sqlite:///{folder}/mlflow.db", f"tracking.artifacts={folder}/artifacts"


def fill(folder: Path, leave: int) -> Path:
    """Fill a disk except for some bytes, and return the file that fills it."""
    disk = os.statvfs(folder)
    (folder / "filler").write_bytes(b"0" * (disk.f_bavail * disk.f_bsize - leave))
    return folder / "filler"


def assert_refused(done: "subprocess.CompletedProcess[str]", line: str) -> None:
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stdout + done.stderr
    assert done.stderr.startswith(f"error: {line}"), done.stderr


def test_a_read_only_store_can_be_read_but_not_written(
    train: Command, compare: Command, advise: Command, mount: Mount, tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()
    assert train(*RUN, "seed=70", *at(tmp_path / "store")).returncode == 0
    folder = mount("-o", "bind,ro", str(tmp_path / "store"))
    refused = train(*RUN, "seed=71", *at(folder))
    assert_refused(refused, f"tracking.uri: got 'sqlite:///{folder}/mlflow.db'; cannot be opened: [Errno 30] Read-only")
    done = compare("runs=gradclip", "figures=false", *at(folder))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Not stored: the store is read-only"), done.stderr
    done = advise(*at(folder))
    assert "\nFindings:\n  Outcome of norm=1.0 trainer=debug seed=70: " in done.stdout
    assert done.stderr == "no probe: the store is read-only\n"


def test_a_full_disk_leaves_no_new_store_behind(train: Command, mount: Mount) -> None:
    disk = mount(*small("200k"))
    refused = train(*RUN, *at(disk))
    assert_refused(
        refused, f"tracking.uri: got 'sqlite:///{disk}/mlflow.db'; cannot be opened: [Errno 28] No space left"
    )
    assert not (disk / "mlflow.db").exists()


def test_points_wait_in_the_run_folder_while_the_disk_of_the_store_is_full(
    train: Command, mount: Mount, tmp_path: Path
) -> None:
    disk, folder = mount(*small("20m")), tmp_path / "run"
    write_run(make_store(disk), 1.0, 0, {})
    filler = fill(disk, leave=65536)
    done = train(*RUN, *at(disk), f"hydra.run.dir={folder}", "trainer.max_epochs=20", "tracking.retry_seconds=0.1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("Unsent: the store did not accept ")
    filler.unlink()
    assert sync(folder).returncode == 0
    client = MlflowClient(f"sqlite:///{disk}/mlflow.db")
    (run,) = client.search_runs(["1"], "params.`trainer.max_epochs` = '20'")
    assert run.info.status == "FINISHED"
    steps = [point.step for point in client.get_metric_history(run.info.run_id, keys.GRAD_NORM)]
    assert steps == list(range(1, 321))


def test_a_full_disk_under_the_run_folder_is_reported_in_one_line(train: Command, mount: Mount, tmp_path: Path) -> None:
    disk = mount(*small("1m"))
    fill(disk, leave=8192)
    done = train(*RUN, *at(tmp_path), f"hydra.run.dir={disk}/run")
    assert_refused(done, f"{disk}/run")
    assert done.stderr.endswith(": cannot be written: No space left on device\n")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs(["1"])
    assert run.info.status == "FAILED"
    assert len(client.get_metric_history(run.info.run_id, keys.GRAD_NORM)) == 48


@pytest.mark.parametrize("name", ["run.lock", "run.json", "checkpoints", "telemetry", "config.yaml"])
def test_a_folder_in_place_of_a_file_or_a_file_in_place_of_a_folder_is_reported_in_one_line(
    train: Command, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "run" / name
    if Path(name).suffix:
        path.mkdir(parents=True)
    else:  # a file in place of a folder
        path.parent.mkdir()
        path.touch()
    assert_refused(train(*RUN, *at(tmp_path), f"hydra.run.dir={path.parent}"), str(path))


def test_a_spool_truncated_by_a_full_disk_is_repaired(mount: Mount, tmp_path: Path) -> None:
    disk, store = mount(*small("1m")), make_store(tmp_path)
    spool, points = Spool(disk), [Point(keys.LOSS_STEP, 1.0, 0, step) for step in range(900)]
    call = Call(store, "write_points", "1", (points,), str(disk))
    spool.add(call)
    filler = fill(disk, leave=8192)
    with pytest.raises(OSError, match="No space left"):
        spool.add(call)
    filler.unlink()
    spool.add(call)
    taken: list[Call] = []
    assert spool.replay(taken.append) == len(taken) == 2
    assert not (disk / SPOOL_FILE).exists()


def test_a_deleted_experiment_and_a_store_of_a_newer_mlflow_are_refused(
    train: Command, compare: Command, tmp_path: Path
) -> None:
    run_id = write_run(make_store(tmp_path), 1.0, 0, {})
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    client.delete_experiment("1")
    assert_refused(train(*RUN, *at(tmp_path)), "tracking.experiment: got 'gradclip'; it is deleted, restore it or ")
    client.restore_experiment("1")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = 'f' || substr(version_num, 2)")
        database.commit()
    newer = f"tracking.uri: got 'sqlite:///{tmp_path}/mlflow.db'; "
    assert_refused(train(*RUN, *at(tmp_path)), f"{newer}cannot be opened: ")
    assert_refused(compare("runs=gradclip", *at(tmp_path)), newer)
    assert client.get_run(run_id).data.metrics[MSE.final("test")] == 1.0
