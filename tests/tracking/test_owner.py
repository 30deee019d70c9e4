"""Locks of runs: held by one process, and asked about by others."""

from pathlib import Path
from threading import Event, Thread

from gradclip.tracking.owner import RUN_LOCK, hold, is_held, release


def test_a_free_lock_is_acquired_while_others_ask_whether_it_is_held(tmp_path: Path) -> None:
    lock, done = tmp_path / RUN_LOCK, Event()
    assert is_held(lock) is None
    assert hold(lock)
    assert is_held(lock)
    release(lock)

    def ask() -> None:
        while not done.is_set():
            is_held(lock)

    threads = [Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            assert hold(lock)
            release(lock)
    finally:
        done.set()
    for thread in threads:
        thread.join()
    assert is_held(lock) is False
