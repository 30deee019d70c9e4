"""The callback that records requests to stop a training run: Ctrl-C, SIGTERM or a stop file."""

import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from gradclip.errors import SECOND_SIGNAL_AFTER, STOP_SIGNALS, Interrupted

POLL_INTERVAL = 0.5  # seconds between two checks for the stop file


class Interruption(Callback):
    """Record a request to stop, for :class:`~gradclip.callbacks.checkpoints.Checkpoints` to act on.

    As a context manager, it handles SIGINT (Ctrl-C) and SIGTERM. The first signal during training is only recorded, so
    that training can be saved first. A second signal, and any signal outside of training, raises immediately. A signal
    that the process ignores, as a background process ignores Ctrl-C, stays ignored.

    Args:
        file: stop file by which another process requests a stop; it contains the number of the signal.

    Attributes:
        signal: number of the signal that requested the stop; None if there was no request.

    Raises:
        Interrupted: within the context, on a signal that stops immediately.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.signal: int | None = None
        self._next_poll = self._first_signal_time = 0.0
        self._training = False
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        self._previous_handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        self._install_handlers()
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous_handlers.items():
            if _in_main_thread():
                signal.signal(number, handler)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the handlers again, since Lightning has installed its own."""
        self._training = True
        if self._previous_handlers:
            self._install_handlers()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let signals stop immediately from now on."""
        self._training = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let signals stop immediately from now on."""
        self._training = False

    def is_requested(self) -> bool:
        """Return whether a signal or the file has requested a stop."""
        if self.signal is None and self.file is not None and time.monotonic() > self._next_poll:
            self._next_poll = time.monotonic() + POLL_INTERVAL
            self.signal = int(self.file.read_text()) if self.file.exists() else None
        return self.signal is not None

    def check(self) -> None:
        """Raise if a stop was requested.

        Raises:
            Interrupted: a stop was requested.
        """
        if self.is_requested() and self.signal is not None:
            raise Interrupted(self.signal)

    def _install_handlers(self) -> None:
        for number in STOP_SIGNALS:
            if _in_main_thread() and self._previous_handlers[number] is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal is None:
            self.signal, self._first_signal_time = number, now
            if self._training:
                return
        elif now - self._first_signal_time <= SECOND_SIGNAL_AFTER:
            return  # the same request, sent again
        raise Interrupted(number)


def _in_main_thread() -> bool:
    """Return whether this is the main thread, the only one that may install signal handlers."""
    return threading.current_thread() is threading.main_thread()
