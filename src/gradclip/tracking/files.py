"""Files that are written completely or not at all, even if the process is killed or power is lost."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from gradclip.errors import TrackingError, first_line

T = TypeVar("T")
UNLISTED = ".artifact.uploading."  # prefix of temporary files, which MLflow does not list among a run's artifacts
KEPT_OF_NAME = 50  # characters, at most 200 bytes, so that a temporary name is never too long for the file system


@contextmanager
def failure_in_one_line(path: Path) -> Iterator[None]:
    """Print one line if a file cannot be written, for instance on a full disk, and continue without it."""
    try:
        yield
    except OSError as error:
        print(f"error: {path}: cannot be written: {error.strerror or error}", file=sys.stderr)


@contextmanager
def whole_file(path: Path, lasting: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write to; at the end, it replaces the file.

    Args:
        path: the file.
        lasting: whether to sync content and folder to disk, which takes some milliseconds; else the file is complete
            after the process is killed, but not after a power loss.
    """
    temporary = path.with_name(f"{UNLISTED}{path.name[:KEPT_OF_NAME]}.{os.getpid()}")
    try:
        yield temporary
        if lasting:
            replace(temporary, path)
        else:
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace(source: Path, target: Path) -> None:
    """Replace a file; after a power loss the target is the old or the new file, and complete."""
    sync_to_disk(source)
    source.replace(target)
    sync_to_disk(target.parent)


def sync_to_disk(path: Path) -> None:
    """Wait until the content of a file, or the file names of a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, text: str) -> None:
    """Write a text file."""
    with whole_file(path) as temporary:
        temporary.write_text(text)


def write_note(path: Path, note: Mapping[str, Any]) -> None:
    """Write a small JSON file."""
    write_whole(path, json.dumps(note))


def read_note(path: Path, kind: type[T]) -> T:
    """Read a file that :func:`write_note` wrote.

    Args:
        path: the file.
        kind: type of its content, such as a ``NamedTuple`` of its fields.

    Raises:
        TrackingError: the file is empty, damaged, unreadable or of another version.
    """
    try:
        note: T = type_adapter(kind).validate_python(json.loads(path.read_text()))  # type: ignore[arg-type]  # hashable
    except (OSError, ValueError, RecursionError) as error:
        reason = "it is empty" if path.exists() and not path.stat().st_size else invalid_part(error)
        raise TrackingError(
            f"{path}: is damaged, cannot be read or is of another version ({reason}); train again in another folder"
        ) from error
    return note


@cache
def type_adapter(kind: type[T]) -> TypeAdapter[T]:
    """Return what checks a value of a type, and converts plain data to it."""
    return TypeAdapter(kind)


def invalid_part(error: BaseException) -> str:
    """Return which part of plain data is invalid and why, for an error of pydantic; else the first line of the error.

    Example:
        >>> try:
        ...     type_adapter(dict[str, int]).validate_python({"a": "b"})
        ... except ValidationError as error:
        ...     invalid_part(error)
        'a: Input should be a valid integer, unable to parse string as an integer'
    """
    if not isinstance(error, ValidationError):
        return first_line(error)
    first = error.errors()[0]
    return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
