"""The tracking process: one for each training process, started before torch is loaded."""

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from importlib import import_module
from multiprocessing.util import Finalize
from typing import Any, ParamSpec, TypeVar

from gradclip.errors import STOP_SIGNALS, TrackingError, first_line

P = ParamSpec("P")
T = TypeVar("T")


def submit(function_name: str, *arguments: Any) -> "Future[Any]":
    """Have the tracking process call a function, after all submitted before.

    Args:
        function_name: of a module of this package that runs in the tracking process, as its first line says.
        arguments: what to call it with; the first is the store, where it needs one.
    """
    return _process().submit(_call, function_name, *arguments)


def result_of(future: "Future[T]") -> T:
    """Wait for what was submitted.

    Raises:
        TrackingError: the tracking process died.
    """
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise TrackingError("tracking: the process that writes to the store died") from error


@cache
def _process() -> ProcessPoolExecutor:
    if multiprocessing.get_start_method() == "loky":  # in a job of joblib's, whose method a plain Python cannot find
        multiprocessing.set_start_method("spawn", force=True)
    spawn = multiprocessing.get_context("spawn")  # a fork would copy torch's threads and locks
    pool = ProcessPoolExecutor(1, mp_context=spawn, initializer=_outlive_signals_not_parent)
    # A job of joblib's ends as any child process does: it closes queues (priority 10) and waits for its children before
    # it would think of executors.
    Finalize(None, pool.shutdown, exitpriority=100)
    return pool


def _outlive_signals_not_parent() -> None:
    """Leave signals to the training process, which closes the run; end when that process is gone."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(function_name: str, *arguments: Any) -> Any:
    load_module("gradclip.tracking.backend.bulk")
    from gradclip.tracking.backend import bulk as complete
    from gradclip.tracking.backend import connection as opening
    from gradclip.tracking.backend import delivery
    from gradclip.tracking.backend import models as model
    from gradclip.tracking.backend import queries as reading
    from gradclip.tracking.backend import recovery as stopped
    from gradclip.tracking.backend import writes as store

    homes = (opening, store, model, complete, delivery, stopped, reading)
    home = next(module for module in homes if hasattr(module, function_name))
    function: Callable[..., Any] = getattr(home, function_name)
    try:
        return function(*arguments)
    except opening.STORE_ERRORS as error:
        what, reason = function_name.replace("_", " "), first_line(error)
        raise TrackingError(f"tracking.uri: got {arguments[0].uri!r}; could not {what}: {reason}") from error


def load_module(name: str) -> None:
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
