"""Replay of spools, each to the store that it names."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from gradclip.errors import ConfigError, TrackingError
from gradclip.tracking.process import replay, result_of
from gradclip.tracking.records import SPOOL_FILE
from gradclip.tracking.spool import Spool


class Replayed(NamedTuple):
    """Result of replaying the spool of one run, or a folder that cannot be searched.

    Attributes:
        folder: the folder.
        writes: number of writes that were sent.
        error: why the replay or the search failed; None if it succeeded.
    """

    folder: Path
    writes: int
    error: TrackingError | None


def sync(folder: Path, adopt: bool = False) -> Iterator[Replayed]:
    """Replay all spools below a folder, oldest first; a spool that fails does not block the others.

    Args:
        folder: folder to search.
        adopt: whether to send spools that no command of this user wrote.

    Raises:
        ConfigError: there is no such folder.
    """
    try:
        found = folder.is_dir()
    except OSError as error:  # the name is too long, or the folder cannot be entered
        raise ConfigError(f"folder: got {str(folder)!r}; {error.strerror}") from error
    if not found:
        reason = "it is not a folder" if os.path.lexists(folder) else "there is no such folder"
        raise ConfigError(f"folder: got {str(folder)!r}; {reason}")
    unreadable: list[OSError] = []  # folders and spools
    for path in sorted(_spools(folder, unreadable.append), key=_modified):
        try:
            yield Replayed(path.parent, result_of(replay(str(path.parent), adopt)), None)
        except TrackingError as error:
            yield Replayed(path.parent, 0, error)
    for failed in unreadable:
        reason = f"{failed.filename}: cannot be read: {failed.strerror}"
        yield Replayed(Path(failed.filename), 0, TrackingError(reason))


def unsent_below(folder: Path) -> int:
    """Return the number of writes in all spools below a folder."""
    return sum(len(Spool(path.parent)) for path in _spools(folder, lambda _: None))


def _modified(spool: Path) -> float:
    """Return when a spool was last written; 0 if another command has sent and removed it meanwhile."""
    try:
        return spool.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _spools(folder: Path, on_error: Callable[[OSError], None]) -> list[Path]:
    """Return all spools below a folder; links, pipes and the like are skipped.

    Args:
        folder: folder to search.
        on_error: called with the error of each folder that cannot be read.
    """
    paths = [Path(above, SPOOL_FILE) for above, _, names in os.walk(folder, onerror=on_error) if SPOOL_FILE in names]
    found = []
    for path in paths:
        try:
            if stat.S_ISREG(path.lstat().st_mode):
                found.append(path)
        except OSError as error:  # the names in its folder can be listed, but not opened
            on_error(error)
    return found
