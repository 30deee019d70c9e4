"""Load what takes seconds to load."""

import gc
from functools import cache
from importlib import import_module


@cache
def load(name: str) -> None:
    """Import a module and all that it imports, without the garbage collector.

    It would go over all modules time and again while they load, a fifth of the time that it takes, and later during
    training and at the end of the process: nothing of them is ever garbage.

    Args:
        name: of the module.
    """
    gc.disable()
    try:
        import_module(name)
        gc.freeze()
    finally:
        gc.enable()
