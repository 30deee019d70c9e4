"""Which process a run belongs to."""

import socket

import psutil

from gradclip import keys


def owner_tags() -> dict[str, str]:
    """Tags that tell which process writes a run, so that another can see whether it is still there."""
    return {keys.HOST: socket.gethostname(), keys.PROCESS: process_identity(psutil.Process())}


def process_identity(process: psutil.Process) -> str:
    """A process by its number and its start, since numbers are used again."""
    return f"{process.pid} since {process.create_time():.2f}"
