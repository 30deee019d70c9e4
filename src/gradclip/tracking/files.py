"""Files that are written whole or not at all, even where the process is killed or power is lost in the middle."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradclip.errors import TrackingError, first_line


@contextmanager
def failure_in_one_line(path: Path) -> Iterator[None]:
    """Print that a file could not be written, of a full disk say, where what follows goes on without it."""
    try:
        yield
    except OSError as error:
        print(f"error: {path}: cannot be written: {error.strerror or error}", file=sys.stderr)


@contextmanager
def whole_file(path: Path, lasting: bool = True) -> Iterator[Path]:
    """Give a path beside a file, to write to; what was written is put in the file's place once it is on disk.

    Args:
        path: of the file.
        lasting: whether to wait until its name is on disk too, some milliseconds, or only what it holds.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        replace(temporary, path, lasting)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace(source: Path, target: Path, lasting: bool = True) -> None:
    """Put one file in the place of another; after a loss of power the target is one of the two, and whole.

    Args:
        source: the new file.
        target: its place.
        lasting: whether to wait until the name is on disk, so that it is the new one from then on.
    """
    sync_to_disk(source)
    source.replace(target)
    if lasting:
        sync_to_disk(target.parent)


def sync_to_disk(path: Path) -> None:
    """Wait until a file, or the names of a folder's files, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, text: str, lasting: bool = True) -> None:
    """Write a text file.

    Args:
        path: the file.
        text: its content.
        lasting: as for :func:`whole_file`.
    """
    with whole_file(path, lasting) as temporary:
        temporary.write_text(text)


def write_note(path: Path, note: Mapping[str, Any], lasting: bool = True) -> None:
    """Write a small JSON file.

    Args:
        path: the file.
        note: its content.
        lasting: as for :func:`whole_file`.
    """
    write_whole(path, json.dumps(note), lasting)


def read_note(path: Path) -> dict[str, Any]:
    """Read a file of :func:`write_note`.

    Raises:
        TrackingError: it is empty or damaged.
    """
    try:
        note = json.loads(path.read_text())
        if not isinstance(note, dict):
            raise ValueError(f"it holds {type(note).__name__}, not an object")
    except (OSError, ValueError, RecursionError) as error:
        reason = "it is empty" if path.exists() and not path.stat().st_size else first_line(error)
        raise TrackingError(f"{path}: is damaged or cannot be read ({reason}); train anew in another folder") from error
    return note
