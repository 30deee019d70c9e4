"""Folders for files that are needed for a moment: of one process, closed to other users, removed once it is gone."""

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradclip.tracking.owner import is_gone, process_identity

NAME = re.compile(r"gradclip-(.+)-\w+")  # with the identity of a process, _ for its spaces


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a folder with mode 0700 that is removed at the end; its name says which process it is of."""
    owner = process_identity(os.getpid()).replace(" ", "_")
    with tempfile.TemporaryDirectory(prefix=f"gradclip-{owner}-") as folder:
        yield Path(folder)


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Have libraries put their temporary files into a folder, for as long as nothing else asks for another one."""
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = None  # and not the one before, which a call that was given up may have removed


def remove_abandoned() -> None:
    """Remove the folders that killed processes of this user left; what cannot be removed stays."""
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
