"""The exceptions that a user can meet, with one base class, and helpers for their one-line messages."""

import errno
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
SECOND_SIGNAL_AFTER = 1.0  # seconds; a terminal and a launcher may both send the first signal
DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
MISPLACED = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY}  # a folder in the place of a file, or a file
NOT_PERMITTED = {errno.EACCES, errno.EPERM}


class GradclipError(Exception):
    """Base class of all errors that a user can correct; commands print them as one line and exit with code 2."""


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
    """Jobs cannot be stacked; each can be trained on its own."""


class TrackingError(GradclipError):
    """The MLflow store cannot be reached, written or read."""


class AbsentStoreError(TrackingError):
    """The store cannot be opened."""


class UnreachableStoreError(TrackingError):
    """The store did not accept a write; another attempt may succeed."""


class RefusedWriteError(TrackingError):
    """The store will never accept this write, though it may accept others."""


class DiskError(GradclipError):
    """A file cannot be written: the disk is full or read-only."""


class OutOfMemoryError(GradclipError):
    """Data, network and batch do not fit in the memory of the machine or the device."""


class Interrupted(BaseException):
    """A signal stopped a run; not an error, and not an ``Exception``, which other code might catch.

    Attributes:
        signal: number of the signal.
        run_id: id of the stopped run; None if no run had begun.
        step: number of optimizer steps that the run had taken.
        unsent: number of writes that the store has not accepted yet.
        refused: the first write of the run that the store refused for good, if any.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal
        self.run_id: str | None = None
        self.step = self.unsent = 0
        self.refused: RefusedWriteError | None = None


def first_line(error: BaseException) -> str:
    r"""Return the first line of an error's text, or the name of its type if it has no text.

    Example:
        >>> first_line(ValueError("cannot parse\n  at line 3")), first_line(KeyError())
        ('cannot parse', 'KeyError')
    """
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return a hint at the allowed name nearest to a mistyped one; an empty string if none is near.

    Example:
        >>> did_you_mean("clip.valu", ["clip.value", "seed"])
        " (did you mean 'clip.value'?)"
        >>> did_you_mean("zzz", ["clip.value", "seed"])
        ''
    """
    nearest = get_close_matches(name, list(allowed), n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""


def first_few(names: Iterable[str], most: int = 8) -> str:
    """Return the first names of a list and the number of the others, since a network may have thousands.

    Example:
        >>> first_few(iter(["weight", "bias", "scale"]), most=2), first_few(["weight"])
        ('weight, bias and 1 more', 'weight')
    """
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most:,} more" if len(every) > most else "")


def check_choice(name: str, value: object, choices: Iterable[str], error: type[GradclipError]) -> None:
    """Check that a value is one of the allowed names.

    Args:
        name: name of the argument or setting, for the message.
        value: the value.
        choices: the allowed names.
        error: the exception to raise.

    Raises:
        GradclipError: it is not; the exception is of the given class.

    Example:
        >>> check_choice("data.missing", "dropp", ["refuse", "drop"], DataError)
        Traceback (most recent call last):
        gradclip.errors.DataError: data.missing: got 'dropp' (did you mean 'drop'?); choose from refuse, drop
    """
    allowed = list(choices)
    if not (isinstance(value, str) and value in allowed):
        raise error(f"{name}: got {value!r}{did_you_mean(str(value), allowed)}; choose from {', '.join(allowed)}")


@contextmanager
def disk_errors(place: Path | str) -> Iterator[None]:
    """Report a full or read-only disk as a user error, and in ours also a file or folder that is misplaced or locked.

    Args:
        place: what was written to, such as the folder of a run; the message names it if the error names no file.

    Raises:
        DiskError: it replaces the OSError.

    Example:
        >>> with disk_errors(Path("runs")):
        ...     raise OSError(errno.ENOSPC, "")
        Traceback (most recent call last):
        gradclip.errors.DiskError: runs: cannot be written: No space left on device
    """
    try:
        yield
    except OSError as error:
        path = error.filename2 or error.filename or place  # the second is the target of a move
        is_ours = isinstance(place, Path) and _is_below(path, place)
        expected = DISK_IS_FULL | MISPLACED | NOT_PERMITTED if is_ours else DISK_IS_FULL
        if error.errno is None or error.errno not in expected:
            raise
        raise DiskError(f"{path}: cannot be written: {os.strerror(error.errno)}") from error


def _is_below(path: object, folder: Path) -> bool:
    return isinstance(path, str | Path) and Path(path).absolute().is_relative_to(folder.absolute())


@contextmanager
def memory_errors(cause: str) -> Iterator[None]:
    """Report too little memory, of the machine or of a device, as a user error.

    Args:
        cause: what should be smaller, for the message.

    Raises:
        OutOfMemoryError: it replaces the error of Python, NumPy or torch.

    Example:
        >>> with memory_errors("batch"):
        ...     raise MemoryError("Unable to allocate 37.3 GiB")
        Traceback (most recent call last):
        gradclip.errors.OutOfMemoryError: out of memory: Unable to allocate 37.3 GiB; choose a smaller batch
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_of_torch = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
        if not (isinstance(error, MemoryError) or is_of_torch):
            raise
        reason = first_line(error).rpartition("DefaultCPUAllocator: ")[2]
        raise OutOfMemoryError(f"out of memory: {reason}; choose a smaller {cause}") from error
