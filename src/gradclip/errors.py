"""The exceptions that a user can meet, with one base class, and how one becomes a line: argument, value, allowed."""

import errno
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
SECOND_SIGNAL_AFTER = 1.0  # seconds; a terminal and a launcher may both send the first one
DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class GradclipError(Exception):
    """Base of every error that a user can correct; commands print it as one line and exit with code 2."""


class ConfigError(GradclipError):
    """A setting is unknown, of the wrong type or out of range."""


class DataError(GradclipError):
    """The data cannot be read or cannot be trained on."""


class ModelError(GradclipError):
    """The network cannot be built or does not fit the data."""


class ClippingError(GradclipError):
    """A clipping method cannot be applied to these parameters."""


class TrainerError(GradclipError):
    """The Lightning Trainer, its callbacks or its device do not fit together."""


class StackingError(GradclipError):
    """These trainings cannot be stacked; each can be run by itself."""


class TrackingError(GradclipError):
    """The MLflow store cannot be reached, written or read."""


class AbsentStoreError(TrackingError):
    """The store cannot be opened."""


class UnreachableStoreError(TrackingError):
    """The store did not take a write; another attempt may succeed."""


class RefusedWriteError(TrackingError):
    """The store will never take this write, whatever else it takes."""


class DiskError(GradclipError):
    """A file cannot be written: the disk is full or read-only."""


class Interrupted(BaseException):
    """A run was stopped by a signal: not an error, and not an exception that other code would catch.

    Attributes:
        signal: its number.
        run_id: the run that was stopped, where one had begun.
        step: the optimizer steps that it had taken.
        unsent: how many writes the store has not taken yet.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal
        self.run_id: str | None = None
        self.step = self.unsent = 0


def first_line(error: BaseException) -> str:
    r"""The first line of an error's text, or its type where it has none.

    Example:
        >>> first_line(ValueError("cannot parse\n  at line 3")), first_line(KeyError())
        ('cannot parse', 'KeyError')
    """
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """A hint at the allowed name nearest to a mistyped one; empty where none is near.

    Example:
        >>> did_you_mean("clip.valu", ["clip.value", "seed"])
        " (did you mean 'clip.value'?)"
        >>> did_you_mean("zzz", ["clip.value", "seed"])
        ''
    """
    nearest = get_close_matches(name, list(allowed), n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""


def first_few(names: Iterable[str], most: int = 8) -> str:
    """The first of some names, and how many more there are: a network may have thousands.

    Example:
        >>> first_few(["weight", "bias", "scale"], most=2), first_few(["weight"])
        ('weight, bias and 1 more', 'weight')
    """
    shown, rest = [*names][:most], [*names][most:]
    return ", ".join(shown) + (f" and {len(rest):,} more" if rest else "")


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Report a full or read-only disk as a user's error.

    Args:
        folder: where files are written; named where the error does not name a file.

    Raises:
        DiskError: in place of the OSError.

    Example:
        >>> with disk_errors(Path("runs")):
        ...     raise OSError(errno.ENOSPC, "")
        Traceback (most recent call last):
        gradclip.errors.DiskError: runs: cannot be written: No space left on device
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_IS_FULL:
            raise
        raise DiskError(f"{error.filename or folder}: cannot be written: {os.strerror(error.errno)}") from error
