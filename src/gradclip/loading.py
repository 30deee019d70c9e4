"""Load what takes seconds to load."""

import gc
import sys
from importlib import import_module


def load(name: str) -> None:
    """Import a module and all that it imports, unless it is there already, without the garbage collector.

    It would go over all modules time and again while they load, which takes a tenth to a fifth of the time, and later
    during training and at the end of the process, where that takes a second: nothing of them is ever garbage.

    Args:
        name: of the module.
    """
    if name in sys.modules:
        return
    was_on = gc.isenabled()
    gc.disable()
    try:
        import_module(name)
        gc.freeze()
    finally:
        if was_on:
            gc.enable()
