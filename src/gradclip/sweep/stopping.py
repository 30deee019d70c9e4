"""Orderly stop of a whole multirun on Ctrl-C or SIGTERM: running jobs stop, waiting jobs do not start."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType

from gradclip import keys
from gradclip.errors import SECOND_SIGNAL_AFTER, STOP_SIGNALS, TrackingError
from gradclip.tracking.files import read_note, write_note, write_whole
from gradclip.tracking.owner import MAIN_LOCK, hold, is_held, owner_tags, process_identity
from gradclip.tracking.records import MAIN_FILE
from gradclip.training.job import STOP_FILE

CHECK_EVERY = 1.0  # seconds between checks of the main process


def listen(folder: Path) -> None:
    """Forward signals of the main process to the jobs through a file; a second signal ends the process at once."""
    lock = folder.absolute() / MAIN_LOCK
    if not hold(lock):
        raise TrackingError(f"hydra.sweep.dir: got {str(folder)!r}; another command is using this folder")
    write_note(folder / MAIN_FILE, owner_tags(lock))
    received: list[float] = []

    def handle(number: int, _: FrameType | None) -> None:
        received.append(time.monotonic())
        if received[-1] - received[0] > SECOND_SIGNAL_AFTER:
            raise KeyboardInterrupt
        ask_to_stop(folder, number)

    for number in STOP_SIGNALS:
        signal.signal(number, handle)


@contextmanager
def listening(folder: Path) -> Iterator[None]:
    """Run :func:`listen` for a multirun within a command, and restore the signal handlers afterwards."""
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    listen(folder)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def follow_main(folder: Path) -> None:
    """Ignore Ctrl-C in a worker process of a launcher, and end the process when the main process has ended."""
    main = read_note(folder / MAIN_FILE, dict[str, str])
    if main[keys.PROCESS] == process_identity(os.getpid()):
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if main[keys.HOST] == socket.gethostname():  # locks of other machines may not be visible here
        _end_with_main(folder.absolute() / MAIN_LOCK)


@cache
def _end_with_main(lock: Path) -> None:
    def watch() -> None:
        while is_held(lock) is not False:
            time.sleep(CHECK_EVERY)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def ask_to_stop(folder: Path, number: int) -> None:
    """Ask all jobs of a multirun to stop."""
    write_whole(folder / STOP_FILE, str(number))


def stopped_by(folder: Path) -> int | None:
    """Return the signal that asked a multirun to stop; None if it was not asked."""
    path = folder / STOP_FILE
    return int(path.read_text()) if path.exists() else None
