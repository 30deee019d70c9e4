"""The tracking process: one for each training process, started before torch is loaded."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing.util import Finalize
from typing import Any, ParamSpec, TypeVar

from gradclip.errors import TrackingError
from gradclip.loading import load
from gradclip.signals import STOP_SIGNALS

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
    load("gradclip.tracking.complete")
    from gradclip.tracking import complete, delivery, model, opening, reading, stopped, store

    homes = (opening, store, model, complete, delivery, stopped, reading)
    home = next(module for module in homes if hasattr(module, function_name))
    function: Callable[..., Any] = getattr(home, function_name)
    try:
        return function(*arguments)
    except opening.STORE_ERRORS as error:
        what, reason = function_name.replace("_", " "), str(error).splitlines()[0]
        raise TrackingError(f"tracking.uri: got {arguments[0].uri!r}; could not {what}: {reason}") from error
