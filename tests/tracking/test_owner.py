"""The lock of a run is held by one process, and others can ask whether it is held."""

import fcntl
import time
from pathlib import Path

import pytest

from gradclip.tracking.owner import ATTEMPTS, RUN_LOCK, hold, is_held, release


def test_a_lock_is_held_until_it_is_released(tmp_path: Path) -> None:
    lock = tmp_path / RUN_LOCK
    assert is_held(lock) is None
    assert hold(lock)
    assert is_held(lock)
    release(lock)
    assert is_held(lock) is False


@pytest.mark.parametrize("pauses", [1, ATTEMPTS - 1])
def test_a_free_lock_is_acquired_while_others_ask_whether_it_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: int
) -> None:
    lock, slept = tmp_path / RUN_LOCK, []
    with lock.open("w") as other:  # another open file competes for the lock as that of another process does
        fcntl.flock(other, fcntl.LOCK_SH)  # as is_held does, for microseconds

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == pauses:
                fcntl.flock(other, fcntl.LOCK_UN)

        monkeypatch.setattr(time, "sleep", sleep)
        assert hold(lock)
        assert len(slept) == pauses
    release(lock)


def test_a_lock_that_another_process_keeps_is_not_acquired(tmp_path: Path) -> None:
    lock = tmp_path / RUN_LOCK
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert not hold(lock)
    assert hold(lock)
    release(lock)
