"""A disk that takes no more is no bug: it is told in one line."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradclip.errors import DiskError

TAKES_NO_MORE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Tell of a full or read-only disk as of a user's mistake.

    Args:
        folder: what is written within; named where the error does not name a file.

    Raises:
        DiskError: in place of such an error.

    Example:
        >>> with disk_errors(Path("runs")):
        ...     raise OSError(errno.ENOSPC, "")
        Traceback (most recent call last):
        gradclip.errors.DiskError: runs: cannot be written: No space left on device
    """
    try:
        yield
    except OSError as error:
        if error.errno not in TAKES_NO_MORE:
            raise
        raise DiskError(f"{error.filename or folder}: cannot be written: {os.strerror(error.errno)}") from error
