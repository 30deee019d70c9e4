"""Connection to a Ray cluster."""

import logging
import os
import socket
from importlib.util import find_spec

from gradclip.errors import ConfigError, first_line
from gradclip.program import install_command

TIMEOUT = 5.0  # seconds to wait for a cluster; Ray itself would retry for minutes


def start_ray(address: str | None, cpus: int | None) -> None:
    """Connect to a cluster or start one on this machine; a second call does nothing.

    Args:
        address: address of the cluster, ``host:port`` or ``auto``; None starts a cluster.
        cpus: number of CPUs of a cluster that is started; None for all.

    Raises:
        ConfigError: Ray is not installed, or no cluster answers at the address.
    """
    if find_spec("ray") is None:
        raise ConfigError(f"hydra/launcher=ray_cluster: needs Ray; {install_command('ray')}")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no usage statistics
    import ray

    if ray.is_initialized():
        return
    local = {"num_cpus": cpus, "include_dashboard": False} if address is None else {}
    try:
        _check_port(address)
        ray.init(address=address or "local", logging_level=logging.ERROR, **local)
    except OSError as error:
        raise ConfigError(f"hydra.launcher.address: got {address!r}; no Ray cluster answers there") from error
    except ValueError as error:
        raise ConfigError(f"hydra/launcher=ray_cluster: {first_line(error)}") from error


def _check_port(address: str | None) -> None:
    """Refuse an address where nothing listens."""
    if address in {None, "auto"}:
        return
    host, _, port = str(address).removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        raise ConfigError(f"hydra.launcher.address: got {address!r}; must be host:port or auto")
    socket.create_connection((host, int(port)), TIMEOUT).close()
