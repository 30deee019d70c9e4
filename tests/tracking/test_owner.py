"""Locks of runs: held by one process, and asked about by others."""

import subprocess
import sys
from pathlib import Path

from gradclip.tracking.owner import RUN_LOCK, hold, is_held, release

ASK = """
import sys; from pathlib import Path; from gradclip.tracking.owner import is_held
print("asking", flush=True)
while True: is_held(Path(sys.argv[1]))
"""


def test_a_free_lock_is_acquired_while_others_ask_whether_it_is_held(tmp_path: Path) -> None:
    lock = tmp_path / RUN_LOCK
    assert is_held(lock) is None
    assert hold(lock)
    assert is_held(lock)
    release(lock)
    others = [
        subprocess.Popen([sys.executable, "-c", ASK, str(lock)], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        for other in others:
            assert other.stdout is not None
            other.stdout.readline()
        for _ in range(1000):
            assert hold(lock)
            release(lock)
    finally:
        for other in others:
            other.kill()
            other.communicate()
    assert is_held(lock) is False
