"""Send spooled writes, each to the store that it names."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gradclip.errors import ConfigError, TrackingError
from gradclip.tracking.process import replay, result_of
from gradclip.tracking.records import SPOOL_FILE
from gradclip.tracking.spool import Spool


class Replayed(NamedTuple):
    """What became of the spool of one run.

    Attributes:
        folder: of the run.
        writes: how many were sent.
        error: why they were not, or not all; None where they were.
    """

    folder: Path
    writes: int
    error: TrackingError | None


def sync(folder: Path, adopt: bool = False) -> Iterator[Replayed]:
    """Replay all spools below a folder, oldest first; one that fails keeps none of the others back.

    Args:
        folder: where to look.
        adopt: whether spools are sent that no command of this user wrote.

    Raises:
        ConfigError: there is no such folder.
    """
    try:
        found = folder.is_dir()
    except OSError as error:  # of a name that is too long, or a folder that cannot be entered
        raise ConfigError(f"folder: got {str(folder)!r}; {error.strerror}") from error
    if not found:
        raise ConfigError(f"folder: got {str(folder)!r}; there is no such folder")
    for path in sorted(_spools(folder), key=lambda path: path.stat().st_mtime):
        try:
            yield Replayed(path.parent, result_of(replay(str(path.parent), adopt)), None)
        except TrackingError as error:
            yield Replayed(path.parent, 0, error)


def unsent_below(folder: Path) -> int:
    """The number of writes in all spools below a folder."""
    return sum(len(Spool(path.parent)) for path in _spools(folder))


def _spools(folder: Path) -> list[Path]:
    """All spools below a folder; what has that name and is no plain file, a pipe say, is none."""
    return [path for path in folder.rglob(SPOOL_FILE) if path.is_file() and not path.is_symlink()]
