"""Ray, started quietly."""

import logging
import os
from importlib.util import find_spec
from types import ModuleType

from gradclip.errors import ConfigError


def start_ray(address: str | None, cpus: int | None) -> ModuleType:
    """Connect to a cluster, or start one on this machine; once for all launches of a multirun.

    Args:
        address: of the cluster; None starts one.
        cpus: processors of the one that is started; None for all.

    Raises:
        ConfigError: Ray is not installed, or no cluster answers at the address.
    """
    if find_spec("ray") is None:
        raise ConfigError("hydra/launcher=ray: needs Ray; python -m pip install --editable '.[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to Ray's makers
    import ray

    if not ray.is_initialized():
        local = {"num_cpus": cpus, "include_dashboard": False} if address is None else {}
        try:
            ray.init(address=address or "local", logging_level=logging.ERROR, **local)
        except ConnectionError as error:
            raise ConfigError(f"hydra.launcher.address: got {address!r}; no Ray cluster answers there") from error
    return ray
