"""Import the libraries that the forks of :mod:`tests.support.warm_process` share.

Garbage collection is off meanwhile. It would visit the libraries again and again, here and in each fork, and a fork
copies the memory that it visits.
"""

import gc
from importlib import import_module

from tests.support.warm_process import LOADED

gc.disable()
for name in LOADED:
    import_module(name)
gc.freeze()
gc.enable()
