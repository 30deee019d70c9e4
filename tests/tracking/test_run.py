"""A new run in a folder removes an earlier run's checkpoint, and is refused if writes are unsent."""

from pathlib import Path

import pytest

from gradclip.errors import TrackingError
from gradclip.tracking import process
from gradclip.tracking.owner import RUN_LOCK, release
from gradclip.tracking.records import CHECKPOINT_FILE, SPOOL_FILE, StoppedRun, Store
from gradclip.tracking.run import TrackedRun

STOPPED = StoppedRun("0" * 32, "norm=1.0", "", "", "", "", frozenset(), {})


@pytest.mark.parametrize("resumed", [None, STOPPED])
def test_a_new_run_removes_the_checkpoint_of_an_earlier_run_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resumed: StoppedRun | None
) -> None:
    monkeypatch.setattr(process, "begin_run", lambda *_: None)
    checkpoint = tmp_path / CHECKPOINT_FILE
    checkpoint.parent.mkdir()
    checkpoint.touch()
    TrackedRun(Store("sqlite:///no.db", "", "gradclip"), "norm=1.0", {}, tmp_path, resumed=resumed)
    release(tmp_path / RUN_LOCK)
    assert checkpoint.exists() == (resumed is not None)


def test_a_new_run_is_refused_in_a_folder_with_unsent_writes_of_an_earlier_run(tmp_path: Path) -> None:
    (tmp_path / SPOOL_FILE).touch()
    with pytest.raises(TrackingError, match="writes of an earlier run wait here for the store; send them first: "):
        TrackedRun(Store("sqlite:///no.db", "", "gradclip"), "norm=1.0", {}, tmp_path)
