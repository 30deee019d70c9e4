"""Ctrl-C and SIGTERM end a whole multirun in order: jobs that train stop, jobs that wait do not begin."""

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

CHECK_EVERY = 1.0  # seconds between two looks for the main process


def listen(folder: Path) -> None:
    """Pass signals of the main process on to the jobs, by a file; a second signal ends the process at once."""
    lock = folder.absolute() / MAIN_LOCK
    if not hold(lock):
        raise TrackingError(f"hydra.sweep.dir: got {str(folder)!r}; another command works there")
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
    """As :func:`listen`, for a multirun that is a part of a command: afterwards signals do what they did before."""
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    listen(folder)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def follow_main(folder: Path) -> None:
    """In a process that a launcher started for jobs: leave Ctrl-C to the main process, and end when that has ended."""
    main = main_process(folder)
    if main[keys.PROCESS] == process_identity(os.getpid()):
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if main[keys.HOST] == socket.gethostname():  # the lock of another machine may not be seen here
        _end_with_main(folder.absolute() / MAIN_LOCK)


@cache
def _end_with_main(lock: Path) -> None:
    def watch() -> None:
        while is_held(lock) is not False:
            time.sleep(CHECK_EVERY)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main_process(folder: Path) -> dict[str, str]:
    """The owner tags of the main process of a multirun."""
    return read_note(folder / MAIN_FILE)


def ask_to_stop(folder: Path, number: int) -> None:
    """Ask all jobs of a multirun to stop."""
    write_whole(folder / STOP_FILE, str(number))


def stopped_by(folder: Path) -> int | None:
    """The signal by which a multirun was asked to stop; None if it was not."""
    path = folder / STOP_FILE
    return int(path.read_text()) if path.exists() else None
