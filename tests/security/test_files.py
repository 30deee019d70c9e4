"""Files: links are not followed, only the store's own server gets files, and scratch folders are removed."""

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from gradclip import keys
from gradclip.errors import TrackingError
from gradclip.tracking.backend.connection import MAX_FILE, check_location
from gradclip.tracking.backend.delivery import replay
from gradclip.tracking.backend.operations import backend_of
from gradclip.tracking.records import SPOOL_FILE, Store
from gradclip.tracking.scratch import remove_abandoned, scratch_folder
from gradclip.tracking.sync import sync
from tests.support.stores import make_store, write_run

PROXY = "/api/2.0/mlflow-artifacts/artifacts"  # path of artifacts on MLflow servers


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path)


def test_links_in_the_folder_of_a_run_are_not_stored(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_id, backend = write_run(store, 1.0, 0, {}), backend_of(store)
    secret = tmp_path / "home"
    (secret / "inner").mkdir(parents=True)
    for path in (secret / "secret.txt", secret / "inner" / "secret.txt"):
        path.write_text("secret")
    run = tmp_path / "run"
    (run / keys.TELEMETRY_FOLDER).mkdir(parents=True)
    (run / keys.FIGURES_FOLDER).symlink_to(secret)
    (run / keys.EXPLOSION_FOLDER).symlink_to(secret / "inner")
    (run / keys.CONFIG_FILE).symlink_to(secret / "secret.txt")
    (run / keys.TELEMETRY_FOLDER / "link").symlink_to(secret / "inner")
    (run / keys.TELEMETRY_FOLDER / "link.txt").symlink_to(secret / "secret.txt")
    (run / keys.TELEMETRY_FOLDER / "ours.txt").write_text("ours")
    with caplog.at_level(logging.ERROR):
        backend.write_run_files(run_id, str(run))
        backend.write_files(run_id, str(run / keys.FIGURES_FOLDER), "figures")
        backend.write_files(run_id, str(run))
    stored = [path for path in Path(store.artifacts).rglob("*") if path.is_file()]
    assert {path.name for path in stored} == {"ours.txt"}
    assert "secret" not in "".join(path.read_text() for path in stored)
    assert caplog.text.count("is a symbolic link and is not stored") >= 6


@pytest.mark.parametrize("folder", ["linked", "../../elsewhere"])
def test_no_file_is_stored_outside_the_artifact_folder(store: Store, tmp_path: Path, folder: str) -> None:
    run_id, backend = write_run(store, 1.0, 0, {}), backend_of(store)
    artifacts = Path(backend.repository_of(run_id).artifact_dir)
    artifacts.mkdir(parents=True, exist_ok=True)
    (artifacts / "linked").symlink_to(tmp_path / "elsewhere")
    for outside in (tmp_path / "elsewhere", artifacts.parent.parent / "elsewhere", tmp_path / "run"):
        outside.mkdir()
    (tmp_path / "run" / "file.txt").write_text("ours")
    with pytest.raises(MlflowException, match=r"outside|escapes|Invalid"):
        backend.write_files(run_id, str(tmp_path / "run"), folder)
    assert [*tmp_path.rglob("file.txt")] == [tmp_path / "run" / "file.txt"]


def test_paths_that_are_not_spools_do_not_block_others_and_get_no_lock_file(tmp_path: Path) -> None:
    for name in ("pipe", "folder", "dangling", "link", "deep", "binary", "ours"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "pipe" / SPOOL_FILE)
    (tmp_path / "folder" / SPOOL_FILE).mkdir()
    (tmp_path / "dangling" / SPOOL_FILE).symlink_to(tmp_path / "nothing")
    (tmp_path / "link" / SPOOL_FILE).symlink_to("/etc/hostname")
    (tmp_path / "deep" / SPOOL_FILE).write_text("[" * 100_000 + "\n")
    (tmp_path / "binary" / SPOOL_FILE).write_bytes(b"\xff\xfe\n")
    (tmp_path / "ours" / SPOOL_FILE).touch()
    important = tmp_path / "important"
    important.write_text("important")
    (tmp_path / "deep" / f"{SPOOL_FILE}.lock").symlink_to(important)
    answers = {run.folder.name: run.error for run in sync(tmp_path)}
    assert {name for name, error in answers.items() if error} == {"deep", "binary"}
    assert answers["ours"] is None
    assert important.read_text() == "important"
    assert not (tmp_path / "binary" / f"{SPOOL_FILE}.lock").exists()


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_an_unreadable_spool_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / SPOOL_FILE).touch(mode=0o000)
    with pytest.raises(TrackingError, match="cannot be read or written"):
        replay(str(tmp_path), adopt=False)


def test_credentials_of_a_store_are_sent_to_no_other_server(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            requests.append(self.rfile.readline())

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")
    write_run(store, 1.0, 0, {})
    client, backend = MlflowClient(store.uri), backend_of(store)
    elsewhere = client.create_experiment("elsewhere", f"http://127.0.0.1:{server.server_port}{PROXY}/files")
    run_id = client.create_run(elsewhere, tags={keys.OUTCOME: "learned"}).info.run_id
    for read in (
        lambda: backend.read_file(run_id, keys.CONFIG_FILE, "/tmp"),
        lambda: backend.find_stopped_run(run_id),
        lambda: backend.write_text(run_id, "text", "text.txt"),
    ):
        client.set_terminated(run_id, "KILLED")
        with pytest.raises(TrackingError, match="files of the run are on another server"):
            read()
    server.shutdown()
    assert requests == []


@pytest.mark.parametrize("kind", ["device", "pipe", "folder"])
def test_only_regular_files_are_read_from_a_store(store: Store, tmp_path: Path, kind: str) -> None:
    run_id, backend = write_run(store, 1.0, 0, {}, status="KILLED"), backend_of(store)
    model = backend.client.create_logged_model(backend.experiment_id, "model", run_id)
    run_files, model_files = backend.local_artifacts_of(run_id), model.artifact_location.removeprefix("file://")
    make: dict[str, Callable[[Path], object]] = {
        "device": lambda path: path.symlink_to("/dev/zero"),
        "pipe": os.mkfifo,
        "folder": Path.mkdir,
    }
    for path in (Path(str(run_files), keys.CONFIG_FILE), Path(model_files, "artifacts", "description")):
        path.parent.mkdir(parents=True, exist_ok=True)
        make[kind](path)
    assert backend.read_file(run_id, keys.CONFIG_FILE, str(tmp_path)) is None
    assert backend.read_model(run_id, str(tmp_path)) is None
    with pytest.raises(TrackingError, match="before its config was stored"):
        backend.find_stopped_run(run_id)


def test_a_file_that_could_fill_the_disk_is_not_read(store: Store, tmp_path: Path) -> None:
    run_id, backend = write_run(store, 1.0, 0, {}, status="KILLED"), backend_of(store)
    folder = backend.local_artifacts_of(run_id)
    assert folder is not None
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / keys.CONFIG_FILE).open("wb") as file:
        file.truncate(MAX_FILE + 1)  # takes no space
    for read in (
        lambda: backend.read_file(run_id, keys.CONFIG_FILE, str(tmp_path)),
        lambda: backend.find_stopped_run(run_id),
    ):
        with pytest.raises(TrackingError, match=r"^config.yaml: the stored file has 524,288,001 bytes; at most"):
            read()


@pytest.mark.parametrize(
    ("location", "is_allowed"),
    [
        ("mlflow-artifacts:/1/abc", True),
        ("mlflow-artifacts://lab:5000/1", True),
        ("http://LAB:5000/api/2.0/mlflow-artifacts/artifacts", True),
        ("s3://bucket/1", True),
        ("/shared/mlruns", True),
        ("mlflow-artifacts://other:5000/1", False),
        ("HTTPS://other/1", False),
        ("http://lab:5000@other/1", False),
        ("http://lab:5001/1", False),
        ("\thttp://other/1", False),
        ("runs:/abc/files", False),  # would lead to any location that the other run has
        ("models:/m-abc", False),
        ("Models:/name@alias", False),
    ],
)
def test_artifacts_on_another_mlflow_server_are_refused(location: str, is_allowed: bool) -> None:
    if is_allowed:
        check_location(location, "http://lab:5000")
    else:
        with pytest.raises(TrackingError, match=r"files of the run are (on another server|said to be)"):
            check_location(location, "http://lab:5000")


def test_scratch_folders_are_private_and_removed_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = (
        "import os, signal; from gradclip.tracking.scratch import scratch_folder\n"
        "with scratch_folder() as folder:\n"
        "    (folder / 'weights').touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"TMPDIR": str(tmp_path)}, check=False)
    (left,) = tmp_path.iterdir()
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / left.name.replace("-", "-9", 1)).symlink_to(target)  # named after another process that does not exist
    (tmp_path / "gradclip-notes").mkdir()
    with scratch_folder() as ours:
        assert ours.stat().st_mode & 0o777 == 0o700
        remove_abandoned()
        assert ours.exists()
    assert not left.exists()
    assert len(list(tmp_path.iterdir())) == 3
    assert target.exists()


def test_every_temporary_folder_is_a_scratch_folder() -> None:
    sources = Path(keys.__file__).parent.rglob("*.py")
    users = {path.name for path in sources if "tempfile" in path.read_text()}
    # record_store.py creates its folders in the run's folder; entry.py and vectorized.py write to a file without a name
    assert users == {"scratch.py", "record_store.py", "entry.py", "vectorized.py"}
