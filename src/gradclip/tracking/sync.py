"""Send what waits in the folders of runs to the store."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from gradclip.errors import ConfigError
from gradclip.tracking.process import replay, result_of
from gradclip.tracking.records import SPOOL_FILE
from gradclip.tracking.spool import Spool


def sync(folder: Path, others: Sequence[str] = ()) -> Iterator[str]:
    """Send everything below a folder, oldest first, and tell of each run.

    Args:
        folder: where to look.
        others: arguments too many.

    Raises:
        ConfigError: there is no such folder, or there are too many arguments.
        TrackingError: a store still does not take it.
    """
    if others:
        raise ConfigError(f"folder: got {others[0]!r} too; only one folder can be named")
    if not folder.is_dir():
        raise ConfigError(f"folder: got {str(folder)!r}; there is no such folder")
    paths = sorted(folder.rglob(SPOOL_FILE), key=lambda path: path.stat().st_mtime)
    for path in paths:
        yield f"Sent {result_of(replay(str(path.parent)))} writes of {path.parent}"
    if not paths:
        yield f"Nothing waits below {folder}"


def unsent_below(folder: Path) -> int:
    """How many writes wait below a folder."""
    return sum(len(Spool(path.parent)) for path in folder.rglob(SPOOL_FILE))
