"""A file is written whole or not at all, and a damaged note is one line."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

from gradclip.errors import TrackingError
from gradclip.tracking.files import UNLISTED, read_note, whole_file, write_note, write_whole
from gradclip.tracking.records import PARENT_FILE, ParentNote


def test_a_file_is_synced_before_it_is_renamed_and_its_folder_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []
    path = tmp_path / "run.json"

    def fsync(descriptor: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_note(path, {"run_id": "1"})
    assert synced == [(f"{tmp_path}/{UNLISTED}run.json.{os.getpid()}", False), (str(tmp_path), True)]
    assert read_note(path, dict[str, str]) == {"run_id": "1"}


def test_a_file_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 127)  # 254 bytes
    write_whole(path, "text")
    assert path.read_text() == "text"


def test_a_failed_write_keeps_the_previous_file(tmp_path: Path) -> None:
    write_whole(tmp_path / "runs.md", "before")
    with suppress(ZeroDivisionError), whole_file(tmp_path / "runs.md") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("runs.md", "before")]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it is empty"),
        ('{"run_id": "1', "Unterminated string"),
        ("{}", "run_id: Field required"),
        ('{"run_id": 1, "store": 2}', "run_id: Input should be a valid string"),
        ('{"run_id": "1", "store": {"uri": ""}}', "store.artifacts: Field required"),
        ("[" * 10_000, "maximum recursion depth exceeded"),
    ],
)
def test_a_damaged_note_is_reported_in_one_line(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / PARENT_FILE
    path.write_text(content)
    with pytest.raises(TrackingError) as caught:
        read_note(path, ParentNote)
    assert str(caught.value).startswith(f"{path}: is damaged, cannot be read or is of another version ({reason}")
    assert str(caught.value).endswith("); train again in another folder")
