"""Ctrl-C and SIGTERM end a whole multirun in order: jobs that train stop, those that wait do not begin."""

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

MAIN_FILE = "process.json"  # in the folder of a multirun: the tags of its main process


def listen(folder: Path) -> None:
    """Have the main process of a multirun pass signals on to its jobs, by a file; the second time it ends at once."""
    folder.mkdir(parents=True, exist_ok=True)
    write_note(folder / MAIN_FILE, owner_tags())
    began: list[float] = []

    def answer(number: int, _: FrameType | None) -> None:
        began.append(time.monotonic())
        if began[-1] - began[0] > SECOND_SIGNAL_AFTER:
            raise KeyboardInterrupt
        ask_to_stop(folder, number)

    for number in STOP_SIGNALS:
        signal.signal(number, answer)


def leave_signals_to_main(folder: Path) -> None:
    """In a process that a launcher made for jobs: ignore what the main process answers for all."""
    if main_process(folder)[keys.PROCESS] != owner_tags()[keys.PROCESS]:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def main_process(folder: Path) -> dict[str, str]:
    """The tags of the process that a multirun was started as."""
    return read_note(folder / MAIN_FILE)


def ask_to_stop(folder: Path, number: int) -> None:
    """Ask all jobs of a multirun to stop."""
    (folder / f"{STOP_FILE}.{os.getpid()}").write_text(str(number))
    (folder / f"{STOP_FILE}.{os.getpid()}").replace(folder / STOP_FILE)


def stopped_by(folder: Path) -> int | None:
    """The signal that a multirun was asked to stop by."""
    path = folder / STOP_FILE
    return int(path.read_text()) if path.exists() else None
