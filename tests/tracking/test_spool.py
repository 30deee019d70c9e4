"""Writes are decoded from the spool as they were encoded."""

import json
import os
from pathlib import Path

import pytest

from gradclip import keys
from gradclip.errors import TrackingError
from gradclip.tracking.operations import WRITES, argument_types, needs_run
from gradclip.tracking.records import SPOOL_FILE, Call, DatasetDescription, ModelFiles, Parent, Point
from gradclip.tracking.spool import VERSION, Spool, decode, encode
from tests.support.stores import make_store

NAN = float("nan")


def arguments_of(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return arguments for every write, including values that are hard to encode."""
    model = {name: str(folder / name) for name in ("description", "weights")}
    example, network = str(folder / "example.npy"), str(folder / "network.pth")
    for path in (*model.values(), example, network):
        Path(path).write_text("{}")
    return {
        "create_run": ("a name", {"tag": "välue\n"}, Parent("folder", "multirun", {"seed": "0"}), 5),
        "reopen_run": ({"tag": ""},),
        "write_parameters": ({"clip.value": "1.0"},),
        "write_points": ([Point("loss/step", 1e-300, 1, 2), Point("grad/norm", float("inf"), 1, 2)],),
        "write_summary": ({"final/mse_test": NAN}, {"outcome": "diverged"}, 7),
        "write_datasets": ([DatasetDescription("rows", "abc", "local", "{}", None, None, "training")],),
        "write_files": (str(folder), "figures"),
        "write_run_files": (str(folder),),
        "write_text": ("text\n", "config.yaml"),
        "write_model": (ModelFiles(model, example, ["torch==2.13.0"], network),),
        "end_run": ("FINISHED", None),
    }


def test_every_write_has_an_encoding(tmp_path: Path) -> None:
    assert arguments_of(tmp_path).keys() == WRITES
    assert [name for name in WRITES if not needs_run(name)] == ["create_run"]


@pytest.mark.parametrize("operation", sorted(WRITES))
def test_a_write_is_decoded_unchanged(tmp_path: Path, operation: str) -> None:
    call = Call(make_store(tmp_path), operation, "id", arguments_of(tmp_path)[operation], str(tmp_path))
    line = json.loads(json.dumps(encode(call)))
    assert line["version"] == VERSION
    again = decode(line, tmp_path)
    if operation == "write_model":  # its files are copied to the run's folder
        assert Path(again.arguments[0].example).parent == tmp_path / "unsent_model"
        assert again.arguments[0].requirements == ["torch==2.13.0"]
    else:
        assert repr(again) == repr(call)  # NaN is not equal to itself


def test_trailing_arguments_may_be_omitted(tmp_path: Path) -> None:
    line = encode(Call(make_store(tmp_path), "end_run", "id", ("KILLED",), str(tmp_path)))
    assert decode(line, tmp_path).arguments == ("KILLED",)


def test_argument_types_are_keyed_by_argument_name() -> None:
    assert list(argument_types("write_summary")) == ["metrics", "tags", "timestamp"]


def test_an_incomplete_line_is_ignored_and_then_overwritten(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.add(Call(make_store(tmp_path), "write_text", "id", ("a", "b.txt"), str(tmp_path)))
    with spool.path.open("a") as file:
        file.write('{"version": 2, "operation": "end_r')
    assert (len(spool), [call.operation for call in spool.calls()]) == (1, ["write_text"])
    spool.add(Call(make_store(tmp_path), "end_run", "id", ("FINISHED", 1), str(tmp_path)))
    assert [call.operation for call in spool.calls()] == ["write_text", "end_run"]


def test_the_files_of_a_write_are_synced_before_the_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    (tmp_path / keys.TELEMETRY_FOLDER).mkdir()
    (tmp_path / keys.TELEMETRY_FILE).write_bytes(b"data")
    spool = Spool(tmp_path)
    spool.add(Call(make_store(tmp_path), "write_run_files", "id", (str(tmp_path),), str(tmp_path)))
    assert synced.index(str(tmp_path / keys.TELEMETRY_FILE)) < synced.index(str(spool.path))
    assert synced[-1] == str(tmp_path)


@pytest.mark.parametrize("line", [{"function_name": "end_run", "arguments": ["KILLED"]}, {"version": 1}])
def test_a_line_of_another_version_is_refused(tmp_path: Path, line: dict[str, object]) -> None:
    (tmp_path / SPOOL_FILE).write_text(f"{json.dumps(line)}\n")
    with pytest.raises(TrackingError, match="contains an invalid write: another version of gradclip wrote it"):
        Spool(tmp_path).calls(adopt=True)
