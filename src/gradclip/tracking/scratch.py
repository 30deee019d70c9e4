"""Temporary folders: private to one user and one process, and removed once that process is gone."""

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradclip.tracking.owner import is_gone, process_identity

NAME = re.compile(r"gradclip-(.+)-\w+")  # the identity of a process, with _ for spaces, and a random suffix


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a temporary folder with mode 0700, named after this process and removed at the end."""
    owner = process_identity(os.getpid()).replace(" ", "_")
    with tempfile.TemporaryDirectory(prefix=f"gradclip-{owner}-") as folder:
        yield Path(folder)


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Make libraries put their temporary files into a folder; a context that overlaps overrides this one."""
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = None  # not the previous value: an abandoned call may have removed that folder


def remove_abandoned() -> None:
    """Remove the folders that killed processes of this user left, as far as possible."""
    for entry in os.scandir(tempfile.gettempdir()):
        named = NAME.fullmatch(entry.name)
        if named and _is_our_folder(entry) and is_gone(named[1].replace("_", " ")):
            shutil.rmtree(entry.path, ignore_errors=True)


def _is_our_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # its process has just removed it
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
