"""The process that owns a run: it holds a lock for as long as it lives, and tags say which and where.

A lock decides whether a run's process is alive, since it is right over changes of the clock, in containers, and where
process numbers are reused. Where the lock's file is out of reach, process number, boot and PID namespace decide; what
cannot be known counts as alive.
"""

import fcntl
import os
import re
import socket
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from gradclip import keys

RUN_LOCK = "run.lock"  # in the folder of a run: held while it trains
MAIN_LOCK = "process.lock"  # in the folder of a multirun: held by its main process
PROCESS = re.compile(r"([0-9]{1,9}) since ([0-9.]{1,20})(?: of boot ([0-9a-f-]{1,40}) in ([0-9]{1,20}))?")

at_end = ExitStack()  # closed by a command however it ends, while its tracking process can still be asked

_held: dict[Path, int] = {}  # file descriptors, by path


def hold(lock: Path) -> bool:
    """Take a lock for the life of this process; a process that ends, however it ends, gives it back.

    Returns:
        Whether it could be taken, or was held already; False if another process holds it.

    Raises:
        OSError: its file cannot be created.
    """
    lock = lock.absolute()
    if lock in _held:
        return True
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    if not _try_lock(descriptor):
        os.close(descriptor)
        return False
    _held[lock] = descriptor
    return True


def release(lock: Path) -> None:
    """Give back a lock of :func:`hold`."""
    descriptor = _held.pop(lock.absolute(), None)
    if descriptor is not None:
        os.close(descriptor)


def is_held(lock: Path) -> bool | None:
    """Whether some process holds a lock; None where there is no such file."""
    return True if lock.absolute() in _held else _is_held(str(lock))


def owner_tags(lock: Path) -> dict[str, str]:
    """Tags that name this machine and process, and the lock that it holds."""
    return {keys.HOST: socket.gethostname(), keys.PROCESS: process_identity(os.getpid()), keys.LOCK: str(lock)}


def process_identity(number: int) -> str:
    """A process by number, start, boot and PID namespace.

    Raises:
        psutil.NoSuchProcess: there is none of that number.
    """
    return f"{number} since {_start_of(number)} of boot {_boot()} in {_namespace()}"


def is_dead(tags: Mapping[str, str]) -> bool:
    """Whether the process that a run's tags name is known to be gone."""
    identity = tags.get(keys.PROCESS, "")
    if PROCESS.fullmatch(identity) is None or tags.get(keys.HOST) != socket.gethostname():
        return False
    held = _is_held(tags.get(keys.LOCK, ""))
    return is_gone(identity) if held is None else not held


def is_gone(identity: str) -> bool:
    """Whether a process of this boot and namespace is gone; one of another cannot be seen from here.

    Args:
        identity: as :func:`process_identity` returns it; anything else is not known to be gone.
    """
    import psutil  # only where a process may be gone: commands begin a little sooner

    named = PROCESS.fullmatch(identity)
    if named is None:
        return False
    number, _, boot, namespace = named.groups()
    if boot is None:  # as gradclip 0.1 wrote it
        return not psutil.pid_exists(int(number))
    if (boot, namespace) != (_boot(), _namespace()):
        return False
    try:
        return process_identity(int(number)) != identity
    except psutil.NoSuchProcess:
        return True


def _is_held(path: str) -> bool | None:
    """Whether some process holds a lock; None where there is no such file. The path may come from anybody."""
    if Path(path).name not in {RUN_LOCK, MAIN_LOCK}:
        return None
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW)
    except (OSError, ValueError):  # a path with a NUL is a ValueError
        return None
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return not _try_lock(descriptor) if is_file else None
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _start_of(number: int) -> str:
    """When a process started: clock ticks since boot, which no change of the clock moves, where Linux tells them."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        return fields[19]
    except (OSError, IndexError):
        import psutil

        return f"{psutil.Process(number).create_time():.2f}"


@cache
def _boot() -> str:
    """The id of this boot; 0 where the system tells none."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else "0"


@cache
def _namespace() -> str:
    """The PID namespace of this process; 0 where the system has none."""
    path = Path("/proc/self/ns/pid")
    return str(path.stat().st_ino) if path.exists() else "0"


def _give_locks_to_parent() -> None:
    """In a forked child: a copy of a descriptor would keep the lock after its owner's end."""
    for descriptor in _held.values():
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_give_locks_to_parent)
