"""Without a folder for the key, or on a full disk, no file is signed and one line says why."""

import errno
from pathlib import Path

import pytest

from gradclip.errors import TrackingError
from gradclip.tracking.signature import sign


def test_a_missing_home_folder_is_reported_with_the_variable_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(TrackingError, match="XDG_STATE_HOME: not set; must name a folder"):
        sign(tmp_path, "text")


def test_a_key_that_a_full_disk_cut_short_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(TrackingError, match="No space left on device"):
        sign(tmp_path, "text")
    assert not [*(tmp_path / "gradclip").iterdir()]
