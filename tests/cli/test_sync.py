"""What the command ``sync`` prints when there is nothing to send, or a folder cannot be searched."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from gradclip.cli.sync import run_sync
from gradclip.tracking.records import SPOOL_FILE


@pytest.mark.parametrize("content", ["", '{"version": 2, "oper'])
def test_a_spool_without_a_complete_write_counts_as_nothing_to_send(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / SPOOL_FILE).write_text(content)
    assert run_sync([str(tmp_path)], "") == 0
    assert capsys.readouterr().out == f"Nothing to send below {tmp_path}\n"


@pytest.mark.parametrize(("name", "reason"), [("file", "it is not a folder"), ("none", "there is no such folder")])
def test_a_file_or_an_unknown_name_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="2"):
        run_sync([str(tmp_path / name)], "")
    assert capsys.readouterr().err == f"error: folder: got '{tmp_path / name}'; {reason}\n"


def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    locked, scan = tmp_path / "locked", os.scandir
    locked.mkdir()

    def scandir(path: str) -> Any:  # permissions do not bind root, as whom tests may run
        if Path(path) == locked:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert run_sync([str(tmp_path)], "") == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"error: {locked}: cannot be read: Permission denied\n")
