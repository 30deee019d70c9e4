"""The process that owns a run, as tags, so that another process can see whether it is still there."""

import socket

import psutil

from gradclip import keys


def owner_tags() -> dict[str, str]:
    """Tags that name this machine and process."""
    return {keys.HOST: socket.gethostname(), keys.PROCESS: process_identity(psutil.Process())}


def process_identity(process: psutil.Process) -> str:
    """A process by its number and its start, since numbers are reused."""
    return f"{process.pid} since {process.create_time():.2f}"
