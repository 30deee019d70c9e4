"""A spool is sent only if a command of this user wrote it at its present location."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from gradclip import keys
from gradclip.errors import TrackingError
from gradclip.tracking.operations import Operations
from gradclip.tracking.records import SPOOL_FILE, Call, Point, Store
from gradclip.tracking.signature import is_signed, key_file, key_of, sign
from gradclip.tracking.spool import VERSION, Spool, encode
from tests.conftest import sync
from tests.support.stores import make_store, write_run

pytestmark = pytest.mark.command  # most tests start sync.py
HOSTILE = Store("http://127.0.0.1:9", "", "stolen")


def spool_points(folder: Path, store: Store, run_id: str) -> Spool:
    spool, points = Spool(folder), [Point(keys.LOSS_STEP, float(step), 0, step) for step in range(1, 4)]
    spool.add(Call(store, Operations.write_points.__name__, run_id, (points,), str(folder)))
    return spool


def test_a_spool_of_this_user_is_sent(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    run_id = write_run(store, 1.0, 0, {})
    spool_points(tmp_path / "run", store, run_id)
    done = sync(str(tmp_path / "run"))
    assert done.stdout == f"Sent 1 write from {tmp_path / 'run'}\n", done.stderr
    assert len(MlflowClient(store.uri).get_metric_history(run_id, keys.LOSS_STEP)) == 3


def test_a_spool_among_the_artifacts_of_a_store_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "home" / "secret.txt"
    secret.parent.mkdir()
    secret.write_text("secret")
    folder = tmp_path / "mlruns" / "artifacts" / ("0" * 32) / "artifacts"
    folder.mkdir(parents=True)
    call = Call(HOSTILE, Operations.write_files.__name__, "0" * 32, (str(secret.parent),), str(folder))
    (folder / SPOOL_FILE).write_text(f"{json.dumps(encode(call))}\n")
    refused = sync(str(tmp_path / "mlruns"))
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert refused.stderr.startswith(f"error: {folder / SPOOL_FILE}: no command of yours wrote this file")
    adopted = sync(str(folder), "--adopt")  # even then, files outside the run's folder are refused
    assert adopted.stderr == (
        f"error: {folder / SPOOL_FILE}: contains an invalid write: write_files names {secret.parent}, "
        "which is not in the folder of the run\n"
    )


def test_a_copied_or_modified_spool_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    spool = spool_points(tmp_path / "run", store, "0" * 32)
    copy = Spool(tmp_path / "elsewhere")
    copy.folder.mkdir()
    copy.path.write_text(spool.path.read_text())
    with pytest.raises(TrackingError, match="no command of yours wrote this file"):
        copy.calls()
    spool.path.write_text(spool.path.read_text().replace('"gradclip"', '"stolen"'))
    with pytest.raises(TrackingError, match="no command of yours wrote this file"):
        spool.calls()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"operation": "start_system_metrics"}, "'start_system_metrics' is never spooled"),
        ({"operation": "read_run"}, "'read_run' is never spooled"),
        ({"operation": "__init__"}, "'__init__'"),
        ({"operation": "system"}, "'system'"),
        ({"version": 3}, "another version of gradclip wrote it, and must send it"),
        ({"arguments": {"points": [["loss/step", "much", 0, 1]]}}, "Input should be a valid number"),
        ({"arguments": {"points": [], "store": "other"}}, "write_points has no argument 'store'"),
        ({"arguments": 3}, "contains an invalid write"),
        ({"store": {"uri": "sqlite:///x.db", "patience": 3}}, "contains an invalid write"),
        ({"store": {"uri": 5, "artifacts": "a", "experiment": "e"}}, "Input should be a valid string"),
        ({"store": {"uri": "a", "artifacts": "a", "experiment": "e", "retry_seconds": []}}, "should be a valid number"),
    ],
)
def test_all_lines_are_checked_before_the_first_is_performed(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    spool = spool_points(tmp_path, make_store(tmp_path), "0" * 32)
    first = spool.path.read_text()
    spool.path.write_text(f"{first}{json.dumps({**json.loads(first), **change})}\n")
    performed: list[Call] = []
    with pytest.raises(TrackingError, match=reason):
        spool.replay(performed.append, adopt=True)
    assert performed == []
    assert spool.path.exists()


@pytest.mark.parametrize("line", ["[]", "3", "null", '"text"', "{", "{}", '{"version": 2}', "\udcff"])
def test_a_line_that_is_not_a_write_is_refused_in_one_line(tmp_path: Path, line: str) -> None:
    (tmp_path / SPOOL_FILE).write_text(f"{line}\n", errors="surrogateescape")
    for arguments in ((str(tmp_path),), (str(tmp_path), "--adopt")):
        done = sync(*arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert done.stderr.startswith(f"error: {tmp_path / SPOOL_FILE}: ")


def test_the_code_of_a_model_is_never_read_from_a_spool(tmp_path: Path) -> None:
    """A model's files are data; its code is the package's own file, and a line that names another is refused."""
    hostile = tmp_path / "hostile.py"
    hostile.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (tmp_path / "unsent_model").mkdir()
    paths = {name: str(tmp_path / "unsent_model" / name) for name in ("weights", "example.npy", "network.pth")}
    for path in paths.values():
        Path(path).write_text("{}")
    files = {"artifacts": paths, "example": paths["example.npy"], "requirements": [], "network": paths["network.pth"]}
    store = make_store(tmp_path)._asdict()
    line = {"version": VERSION, "operation": "write_model", "run_id": "0" * 32, "store": store}
    for more, reason in (({}, "could not write model"), ({"code": str(hostile)}, "contains an invalid write")):
        (tmp_path / SPOOL_FILE).write_text(f"{json.dumps(line | {'arguments': {'files': files | more}})}\n")
        refused = sync(str(tmp_path), "--adopt")
        assert (refused.returncode, reason in refused.stderr) == (2, True), refused.stderr
    assert not (tmp_path / "ran").exists()


def test_a_signature_is_valid_for_its_text_and_folder_only(tmp_path: Path) -> None:
    signature = sign(tmp_path, "text")
    assert is_signed(tmp_path, "text", signature)
    assert not is_signed(tmp_path, "other", signature)
    assert not is_signed(tmp_path / "elsewhere", "text", signature)
    assert not is_signed(tmp_path, "text", None)


def test_the_key_is_readable_only_by_its_user_and_otherwise_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    sign(tmp_path, "text")
    assert key_file().stat().st_mode & 0o777 == 0o600
    key_file().chmod(0o644)
    key_of.cache_clear()
    with pytest.raises(TrackingError, match="must be 32 bytes that only you can read"):
        sign(tmp_path, "text")
