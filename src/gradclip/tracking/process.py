"""The tracking process: one for each training process, started before torch is loaded. Read :func:`ask` first."""

import atexit
import gc
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache, partial
from importlib import import_module
from multiprocessing.util import Finalize
from pathlib import Path
from types import ModuleType
from typing import Any, Concatenate, ParamSpec, TypeVar

from gradclip.errors import STOP_SIGNALS, TrackingError
from gradclip.tracking.calls import RunAddress, files_of_end, numbers_of_end
from gradclip.tracking.child_process import ChildProcess
from gradclip.tracking.operations import WRITES, Operations
from gradclip.tracking.records import BegunRun, Call, RunEnd, RunStart, Store

P = ParamSpec("P")
T = TypeVar("T")
SOCKET_TIMEOUT = 20.0  # seconds before a hanging server counts as gone, where MLflow sets no timeout

_is_replacement = False  # in a tracking process: whether it replaces one that died and may have performed its calls


def ask(
    store: Store, operation: Callable[Concatenate[Operations, P], T], *args: P.args, **kwargs: P.kwargs
) -> "Future[T]":
    """Submit an operation, which is performed once, after all earlier submissions.

    Args:
        store: the store.
        operation: a method of :class:`~gradclip.tracking.operations.Operations`.
        *args: its arguments.
        **kwargs: must be empty; mypy needs the parameter to check the arguments.

    Returns:
        A future of the operation's result, or of its :class:`~gradclip.errors.TrackingError`.

    Example:
        >>> store = Store("sqlite:///no.db", "artifacts", "gradclip")
        >>> result_of(ask(store, Operations.is_read_only))
        True
    """
    assert not kwargs
    return _submit(_perform, "delivery", "query", store, operation.__name__, *args)


def begin_run(call: Call) -> "Future[BegunRun]":
    """Create or reopen a run."""
    return _submit(_begin, "delivery", "begin_run", call)


def begin_runs(starts: Sequence[RunStart]) -> "list[Future[BegunRun]]":
    """Create and describe runs, in one database transaction where possible; if the store fails, spool this."""
    return _submit_many(_begin, "begin_runs", starts)


def deliver(call: Call) -> "Future[int]":
    """Write to the store, or to the spool if the store is unavailable; return the number of writes in the spool."""
    return _or_spooled(_submit(_perform, "delivery", "deliver", call), lambda: [call])


def complete_runs(ends: Sequence[tuple[RunAddress, RunEnd]]) -> "list[Future[int]]":
    """Write the ends of runs with as few requests as possible; return the number of writes in the spool of each."""
    completed = _submit_many(_perform, "complete_runs", ends)
    return [_or_spooled(done, partial(_writes_of_end, *end)) for done, end in zip(completed, ends, strict=True)]


def replay(folder: str, adopt: bool = False) -> "Future[int]":
    """Perform all writes in the spool of a run's folder, with ``adopt`` even unsigned ones, and return their number."""
    return _submit(_perform, "delivery", "replay", folder, adopt)


def result_of(future: "Future[T]") -> T:
    """Wait for a submitted call and return its result.

    Raises:
        TrackingError: the store refused the call, or the tracking process died.
    """
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise TrackingError("tracking: the process that writes to the store died") from error


def _submit(function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
    """Call a function in the tracking process."""
    return _process().submit(function, *arguments)


def _submit_many(perform: Callable[..., Any], function: str, runs: Sequence[Any]) -> "list[Future[Any]]":
    """Call a function of ``batches``; return a future for each result or exception in the list that it returns."""
    if not runs:
        return []
    results: list[Future[Any]] = [Future() for _ in runs]

    def distribute(done: "Future[list[Any]]") -> None:
        error = done.exception()
        for result, outcome in zip(results, [error] * len(runs) if error else done.result(), strict=True):
            if isinstance(outcome, BaseException):
                result.set_exception(outcome)
            else:
                result.set_result(outcome)

    _submit(perform, "batches", function, runs).add_done_callback(distribute)
    return results


def _or_spooled(delivered: "Future[int]", writes: Callable[[], Sequence[Call]]) -> "Future[int]":
    """Return the result of a delivery; if the tracking process dies repeatedly, spool the writes in this process."""
    result: Future[int] = Future()

    def settle(done: "Future[int]") -> None:
        try:
            has_died = isinstance(done.exception(), BrokenProcessPool)
            result.set_result(_spool(writes()) if has_died else done.result())
        except BaseException as error:
            result.set_exception(error)

    delivered.add_done_callback(settle)
    return result


def _writes_of_end(run: RunAddress, end: RunEnd) -> list[Call]:
    return [files_of_end(run), *numbers_of_end(run, end)]


def _spool(writes: Sequence[Call]) -> int:
    from gradclip.tracking.spool import Spool

    spool = Spool(Path(writes[0].folder))
    for call in writes:
        if call.operation in WRITES:
            spool.add(call._replace(run_id=spool.id_of(call.run_id)))
    return len(spool)


@cache
def _process() -> ChildProcess:
    return ChildProcess(_start)


def _start(is_replacement: bool) -> ProcessPoolExecutor:
    if multiprocessing.get_start_method() == "loky":  # in a joblib worker; plain Python has no such method
        multiprocessing.set_start_method("spawn", force=True)
    spawn = multiprocessing.get_context("spawn")  # a fork would copy torch's threads and locks
    pool = ProcessPoolExecutor(1, mp_context=spawn, initializer=_prepare, initargs=(is_replacement,))
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")  # else the child would also run the user's script, which may train
    try:
        pool.submit(int)  # starts the process
    finally:
        sys.modules["__main__"] = main
    # A joblib worker ends as any child process does: it closes queues (priority 10) and waits for its children before
    # executors are shut down.
    Finalize(None, pool.shutdown, exitpriority=100)
    return pool


def _prepare(is_replacement: bool) -> None:
    """Initialize the tracking process: ignore stop signals, since the training process closes the run; exit with it.

    A location of artifacts may lead to any server, and MLflow waits for an FTP server for ever.
    """
    global _is_replacement  # noqa: PLW0603  # once, before the first call
    _is_replacement = is_replacement
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    socket.setdefaulttimeout(SOCKET_TIMEOUT)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _perform(module: str, function: str, *arguments: Any) -> Any:
    """Call a function of a module in ``backend``; importing that loads MLflow, so only the tracking process does."""
    return getattr(load_module(f"gradclip.tracking.backend.{module}"), function)(*arguments)


def _begin(module: str, function: str, *arguments: Any) -> Any:
    """Begin runs, which exist already if this process replaces one that died."""
    return _perform(module, function, *arguments, _is_replacement)


def load_module(name: str) -> ModuleType:
    """Return a module; import it and its dependencies with garbage collection disabled, unless it is loaded already.

    Modules are never garbage, but the collector traverses them repeatedly. This takes 10 to 20% of the loading time,
    some time during training, and, unless Triton is loaded, a second at exit.
    """
    if name in sys.modules:
        return sys.modules[name]
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        module = import_module(name)
        gc.freeze()
        if "triton" in sys.modules:  # from 3.9, it prints which of its objects were not freed at exit
            atexit.register(gc.unfreeze)
        return module
    finally:
        if was_enabled:
            gc.enable()
