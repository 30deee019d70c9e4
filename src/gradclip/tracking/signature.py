"""Signatures of the files that this user's commands leave in a folder, so that files of others are not trusted.

The path of a run's folder may come from a tag in a shared store, and artifacts in such a store can look like a run's
folder. A file that lists writes to a store, or that assigns a folder to a run, is trusted only if it is signed with a
key that is kept outside of all stores and is readable by this user only.
"""

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from gradclip.errors import TrackingError
from gradclip.tracking.files import read_note, write_note
from gradclip.tracking.records import RUN_FILE

KEY_BYTES = 32


class RunNote(NamedTuple):
    """The content of the file in the folder of a run; see :func:`write_run_note`."""

    run_id: str
    creation: str = ""
    settings: str = ""
    signature: str = ""


def sign(folder: Path, text: str) -> str:
    """Return the signature of a text, HMAC-SHA256 in hexadecimal digits, which is valid in one folder only.

    Raises:
        TrackingError: the key cannot be created, or others can read it.
    """
    message = f"{folder.resolve()}\0{text}".encode()
    return hmac.new(key_of(key_file()), message, hashlib.sha256).hexdigest()


def is_signed(folder: Path, text: str, signature: object) -> bool:
    """Return whether a signature was made by this user's commands.

    Args:
        folder: the folder for which the text was signed.
        text: the signed text.
        signature: the signature that was found beside it.

    Raises:
        TrackingError: the key cannot be created, or others can read it.
    """
    return isinstance(signature, str) and hmac.compare_digest(sign(folder, text).encode(), signature.encode())


def key_file() -> Path:
    """Return the path of this user's key, under ``XDG_STATE_HOME``.

    Raises:
        TrackingError: the variable is not set, and the user has no home folder.
    """
    try:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise TrackingError("XDG_STATE_HOME: not set; must name a folder if there is no home folder") from error
    return Path(state, "gradclip", "key")


@cache
def key_of(path: Path) -> bytes:
    """Return the key in a file, which is created if needed.

    Raises:
        TrackingError: it cannot be created or read, others can read it, or it is damaged.
    """
    try:
        if not path.exists():
            _create(path)
        mode, key = path.stat(), path.read_bytes()
    except OSError as error:
        raise TrackingError(f"{path}: the key that signs files of runs cannot be created or read: {error}") from error
    if mode.st_uid != os.getuid() or mode.st_mode & 0o077 or len(key) != KEY_BYTES:
        what = f"must be {KEY_BYTES} bytes that only you can read (mode 600); remove it to create a new one"
        raise TrackingError(f"{path}: {what}")
    return key


def _create(path: Path) -> None:
    """Create the key completely or not at all; if several processes create it, the first wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def write_run_note(folder: Path, run_id: str, creation: str, settings: str) -> None:
    """Write a signed note to the folder of a run.

    Args:
        folder: the run's folder, created if needed.
        run_id: id of the run in the store; its creation tag while its creation is spooled.
        creation: creation tag of the run.
        settings: fingerprint of the run's settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    note = RunNote(run_id, creation, settings)
    with suppress(TrackingError):  # without a key the run cannot be resumed, which is reported when it is tried
        note = note._replace(signature=sign(folder, f"{run_id} {settings}"))
    write_note(folder / RUN_FILE, note._asdict())


def signed_settings(folder: Path, run_id: str) -> str | None:
    """Return the fingerprint of the settings with which a command of this user began a run in a folder.

    Returns:
        The fingerprint; None if the folder has no signed note of that run.

    Raises:
        TrackingError: the note is damaged, or there is no key.
    """
    path = folder / RUN_FILE
    if not path.is_file():
        return None
    note = read_note(path, RunNote)
    is_ours = note.run_id == run_id and is_signed(folder, f"{run_id} {note.settings}", note.signature)
    return note.settings if is_ours else None
