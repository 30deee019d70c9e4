"""Ownership of runs: a process holds a lock while it trains a run, and the run's tags identify process and lock.

The lock decides whether the process is alive: it stays reliable when the clock changes, in containers, and when process
ids are reused. If the lock file is not accessible, process id, start time, boot and PID namespace decide; in doubt, the
process counts as alive.
"""

import fcntl
import os
import re
import socket
import stat
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from gradclip import keys

RUN_LOCK = "run.lock"  # in the folder of a run: held while it trains
MAIN_LOCK = "process.lock"  # in the folder of a multirun: held by its main process
ATTEMPTS = 5  # to acquire a lock: another command that asks whether it is held has it for microseconds
PAUSE = 0.02  # seconds between two attempts
PROCESS = re.compile(r"([0-9]{1,9}) since [0-9.]{1,20} (of boot [0-9a-f-]{1,40} in [0-9]{1,20})")

at_end = ExitStack()  # closed whenever a command ends, while its tracking process still answers

_held: dict[Path, int] = {}  # file descriptors, by path


def hold(lock: Path) -> bool:
    """Acquire a lock for the lifetime of this process; the system releases it when the process ends.

    Returns:
        True if the lock was acquired or is already held, False if another process holds it.

    Raises:
        OSError: the lock file cannot be created.
    """
    lock = lock.absolute()
    if lock in _held:
        return True
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    for _ in range(ATTEMPTS):
        if _try_lock(descriptor, fcntl.LOCK_EX):
            _held[lock] = descriptor
            return True
        time.sleep(PAUSE)
    os.close(descriptor)
    return False


def release(lock: Path) -> None:
    """Release a lock acquired by :func:`hold`."""
    descriptor = _held.pop(lock.absolute(), None)
    if descriptor is not None:
        os.close(descriptor)


def is_held(lock: Path) -> bool | None:
    """Return whether some process holds a lock; None if there is no such file. The path is not trusted."""
    if lock.name not in {RUN_LOCK, MAIN_LOCK}:
        return None
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW)
    except (OSError, ValueError):  # a path with a NUL raises ValueError
        return None
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return not _try_lock(descriptor, fcntl.LOCK_SH) if is_file else None  # shared: several may ask at once
    finally:
        os.close(descriptor)


def owner_tags(lock: Path) -> dict[str, str]:
    """Return tags that identify this machine, this process and its lock."""
    return {keys.HOST: socket.gethostname(), keys.PROCESS: process_identity(os.getpid()), keys.LOCK: str(lock)}


def process_identity(number: int) -> str:
    """Return a text that identifies a process: its id, start time, boot and PID namespace.

    Raises:
        psutil.NoSuchProcess: there is no process with this id.
    """
    return f"{number} since {_start_of(number)} {_system()}"


def is_dead(tags: Mapping[str, str]) -> bool:
    """Return whether the process named in a run's tags is known to be gone."""
    identity = tags.get(keys.PROCESS, "")
    if PROCESS.fullmatch(identity) is None or tags.get(keys.HOST) != socket.gethostname():
        return False
    held = is_held(Path(tags.get(keys.LOCK, "")))
    return is_gone(identity) if held is None else not held


def is_gone(identity: str) -> bool:
    """Return whether a process is known to be gone; False for a process of another boot or PID namespace.

    The identity is a text as :func:`process_identity` returns it; any other text returns False.
    """
    import psutil  # only when needed, so that commands start faster

    named = PROCESS.fullmatch(identity)
    if named is None:
        return False
    number, system = named.groups()
    if system != _system():
        return False
    try:
        return process_identity(int(number)) != identity
    except psutil.NoSuchProcess:
        return True


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _start_of(number: int) -> str:
    """Return a process's start time: on Linux in ticks since boot, which a change of the clock does not affect."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        return fields[19]
    except (OSError, IndexError):
        import psutil

        return f"{psutil.Process(number).create_time():.2f}"


@cache
def _system() -> str:
    """Return a text that identifies this boot and the PID namespace of this process; 0 stands for unknown."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    boot_id = boot.read_text().strip() if boot.exists() else "0"
    return f"of boot {boot_id} in {namespace.stat().st_ino if namespace.exists() else 0}"


def _give_locks_to_parent() -> None:
    """Close inherited locks in a forked child: a copied descriptor would hold a lock after its owner has ended."""
    for descriptor in _held.values():
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_give_locks_to_parent)
