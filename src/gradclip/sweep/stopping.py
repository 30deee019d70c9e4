"""Ctrl-C and SIGTERM end a whole multirun in order: jobs that train stop, jobs that wait do not begin."""

import os
import signal
import time
from pathlib import Path
from types import FrameType

from gradclip import keys
from gradclip.errors import SECOND_SIGNAL_AFTER, STOP_SIGNALS
from gradclip.tracking.owner import owner_tags
from gradclip.tracking.records import read_note, write_note
from gradclip.training.job import STOP_FILE

MAIN_FILE = "process.json"  # in the folder of a multirun: the owner tags of its main process


def listen(folder: Path) -> None:
    """Pass signals of the main process on to the jobs, by a file; a second signal ends the process at once."""
    folder.mkdir(parents=True, exist_ok=True)
    write_note(folder / MAIN_FILE, owner_tags())
    received: list[float] = []

    def handle(number: int, _: FrameType | None) -> None:
        received.append(time.monotonic())
        if received[-1] - received[0] > SECOND_SIGNAL_AFTER:
            raise KeyboardInterrupt
        ask_to_stop(folder, number)

    for number in STOP_SIGNALS:
        signal.signal(number, handle)


def leave_signals_to_main(folder: Path) -> None:
    """Ignore Ctrl-C in a process that a launcher started for jobs: the main process handles it for all."""
    if main_process(folder)[keys.PROCESS] != owner_tags()[keys.PROCESS]:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def main_process(folder: Path) -> dict[str, str]:
    """The owner tags of the main process of a multirun."""
    return read_note(folder / MAIN_FILE)


def ask_to_stop(folder: Path, number: int) -> None:
    """Ask all jobs of a multirun to stop."""
    (folder / f"{STOP_FILE}.{os.getpid()}").write_text(str(number))
    (folder / f"{STOP_FILE}.{os.getpid()}").replace(folder / STOP_FILE)


def stopped_by(folder: Path) -> int | None:
    """The signal by which a multirun was asked to stop; None if it was not."""
    path = folder / STOP_FILE
    return int(path.read_text()) if path.exists() else None
