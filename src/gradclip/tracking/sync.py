"""Send what waits in the folders of runs to the store."""

from collections.abc import Iterator
from pathlib import Path

from gradclip.errors import ConfigError
from gradclip.tracking.process import replay, result_of
from gradclip.tracking.records import SPOOL_FILE
from gradclip.tracking.spool import Spool


def sync(folder: Path, adopt: bool = False) -> Iterator[str]:
    """Replay all spools below a folder, oldest first; yields a line for each.

    Args:
        folder: where to look.
        adopt: whether spools are sent that no command of this user wrote.

    Raises:
        ConfigError: there is no such folder.
        TrackingError: a store still does not take the writes, or they are not signed.
    """
    if not folder.is_dir():
        raise ConfigError(f"folder: got {str(folder)!r}; there is no such folder")
    paths = sorted(folder.rglob(SPOOL_FILE), key=lambda path: path.stat().st_mtime)
    for path in paths:
        yield f"Sent {result_of(replay(str(path.parent), adopt))} writes of {path.parent}"
    if not paths:
        yield f"Nothing waits below {folder}"


def unsent_below(folder: Path) -> int:
    """The number of writes in all spools below a folder."""
    return sum(len(Spool(path.parent)) for path in folder.rglob(SPOOL_FILE))
