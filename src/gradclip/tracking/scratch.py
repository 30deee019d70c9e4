"""Folders for files that are needed for a moment: of one process, closed to other users, swept once it is gone."""

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradclip.tracking.owner import is_gone, process_identity

NAME = re.compile(r"gradclip-([0-9]+)-([0-9.]+)-([0-9a-f-]+)-([0-9]+)-\w+")  # the parts of a process's identity


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a folder with mode 0700 that is removed at the end; its name says which process it is of."""
    number, start, boot, namespace = re.split(" since | of boot | in ", process_identity(os.getpid()))
    with tempfile.TemporaryDirectory(prefix=f"gradclip-{number}-{start}-{boot}-{namespace}-") as folder:
        yield Path(folder)


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Have libraries put their temporary files into a folder, for as long as nothing else asks for another one."""
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = None  # and not the one before, which a call that was given up may have removed


def sweep() -> None:
    """Remove the folders that killed processes of this user left; what cannot be removed stays."""
    for entry in os.scandir(tempfile.gettempdir()):
        if (named := NAME.fullmatch(entry.name)) and _is_our_folder(entry):
            number, start, boot, namespace = named.groups()
            if is_gone(f"{number} since {start} of boot {boot} in {namespace}"):
                shutil.rmtree(entry.path, ignore_errors=True)


def _is_our_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # its process has just removed it
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
