"""Signing the files of a run without a folder for the key."""

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
