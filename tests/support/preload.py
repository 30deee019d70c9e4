"""Loads the libraries that the forks of :mod:`tests.support.warm_process` share.

Without the garbage collector: it would go over them again and again, here and in each fork, and a fork copies what
it visits.
"""

import gc
from importlib import import_module

from tests.support.warm_process import LOADED

gc.disable()
for name in LOADED:
    import_module(name)
gc.freeze()
gc.enable()
