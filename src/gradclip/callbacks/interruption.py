"""Ctrl-C and SIGTERM end training between two optimizer steps."""

import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from gradclip.errors import SECOND_SIGNAL_AFTER, STOP_SIGNALS, Interrupted

BETWEEN_LOOKS = 0.5  # seconds


class Interruption(Callback):
    """Note the first signal to stop, for :class:`~gradclip.callbacks.checkpoints.Checkpoints` to act on.

    As a context it answers the signals; outside of training, and the second time, it stops at once. A process that
    ignores Ctrl-C, as one in the background does, goes on to do so.

    Args:
        file: a file that has the signal's number, once another process wants this one to stop.

    Attributes:
        signal: the signal that came; None before.

    Raises:
        Interrupted: within the context, where a signal stops at once.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._next_look = self._first_signal = 0.0
        self.signal: int | None = None
        self._training = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        self._handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        self._listen()
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            if _can_listen():
                signal.signal(number, handler)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Answer again: Lightning has put a handler of its own in front."""
        self._training = True
        if self._handlers:
            self._listen()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop at once from now on."""
        self._training = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop at once from now on."""
        self._training = False

    def is_wanted(self) -> bool:
        """Whether training is to stop."""
        if self.signal is None and self.file is not None and time.monotonic() > self._next_look:
            self._next_look = time.monotonic() + BETWEEN_LOOKS
            self.signal = int(self.file.read_text()) if self.file.exists() else None
        return self.signal is not None

    def check(self) -> None:
        """Stop here, if a signal came."""
        if self.is_wanted() and self.signal is not None:
            raise Interrupted(self.signal)

    def _listen(self) -> None:
        for number in STOP_SIGNALS:
            if _can_listen() and self._handlers[number] is not signal.SIG_IGN:
                signal.signal(number, self._answer)

    def _answer(self, number: int, frame: FrameType | None) -> None:
        second = self.signal is not None and time.monotonic() - self._first_signal > SECOND_SIGNAL_AFTER
        if self.signal is None:
            self.signal, self._first_signal = number, time.monotonic()
        if second or not self._training:
            raise Interrupted(number)


def _can_listen() -> bool:
    return threading.current_thread() is threading.main_thread()
