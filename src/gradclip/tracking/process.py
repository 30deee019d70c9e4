"""The tracking process: one for each training process, started before torch is loaded. Read :func:`ask` first."""

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from multiprocessing.util import Finalize
from pathlib import Path
from types import ModuleType
from typing import Any, Concatenate, ParamSpec, TypeVar

from gradclip.errors import STOP_SIGNALS, TrackingError
from gradclip.tracking.child_process import ChildProcess
from gradclip.tracking.operations import Delivery, Operations, delivery_of
from gradclip.tracking.records import BegunRun, Call, RunEnd, Store, files_of_end, numbers_of_end

P = ParamSpec("P")
T = TypeVar("T")

_Write = tuple[str, tuple[Any, ...], "Future[Any]"]  # the name of a function in ``delivery``, arguments, result
_collected: list[_Write] | None = None  # writes submitted within :func:`together`; None outside of it
_is_replacement = False  # in a tracking process: whether it replaces one that died and may have performed its calls


def ask(
    store: Store, operation: Callable[Concatenate[Operations, P], T], *args: P.args, **kwargs: P.kwargs
) -> "Future[T]":
    """Submit an operation, which is performed once, after all earlier submissions.

    Args:
        store: the store.
        operation: a method of :class:`~gradclip.tracking.operations.Operations`.
        *args: its positional arguments.
        **kwargs: its keyword arguments.

    Returns:
        A future of the operation's result, or of its :class:`~gradclip.errors.TrackingError`.

    Example:
        >>> store = Store("sqlite:///no.db", "artifacts", "gradclip")
        >>> result_of(ask(store, Operations.is_read_only))
        True
    """
    return _submit(_perform, "query", store, operation.__name__, args, kwargs)


def begin_run(call: Call, spool: bool) -> "Future[BegunRun]":
    """Create or reopen a run, or spool its creation if that is allowed and the store fails after it was opened."""
    return _submit_write("begin_run", call, spool)


def deliver(call: Call) -> "Future[int]":
    """Write to the store, or to the spool if the store is unavailable; return the number of writes in the spool."""
    return _or_spooled(_submit_write("deliver", call), lambda: [call])


def complete_run(call: Call, end: RunEnd) -> "Future[int]":
    """Write the end of a run with as few requests as possible; return the number of writes in the spool.

    The call names the store, the run and its folder.
    """
    return _or_spooled(
        _submit_write("complete_run", call, end), lambda: [files_of_end(call), *numbers_of_end(call, end)]
    )


@contextmanager
def together() -> Iterator[None]:
    """Collect the writes to runs within the context and submit them at its end, for one database transaction.

    They are submitted even if the context raises an exception, so that their futures are set.

    Raises:
        RuntimeError: the context is nested within another.
    """
    global _collected  # noqa: PLW0603  # all writes come from one thread
    if _collected is not None:
        raise RuntimeError("together() cannot be nested: the outer context submits the writes")
    _collected = []
    try:
        yield
    finally:
        writes, _collected = _collected, None
        if writes:
            done = _submit(_perform_together, [(function, arguments) for function, arguments, _ in writes])
            done.add_done_callback(lambda done: _distribute(done, [result for _, _, result in writes]))


def replay(folder: str, adopt: bool = False) -> "Future[int]":
    """Perform all writes in the spool of a run's folder, with ``adopt`` even unsigned ones, and return their number."""
    return _submit(_perform, "replay", folder, adopt)


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


def _submit_write(function: str, *arguments: Any) -> "Future[Any]":
    """Write to a run by a function of ``delivery`` in the tracking process, now or at the end of :func:`together`."""
    if _collected is None:
        return _submit(_perform, function, *arguments)
    result: Future[Any] = Future()
    _collected.append((function, arguments, result))
    return result


def _distribute(done: "Future[list[Any]]", results: "Sequence[Future[Any]]") -> None:
    """Set the future of each write to the result or the exception of that write."""
    error = done.exception()
    outcomes = [error] * len(results) if error else done.result()
    for result, outcome in zip(results, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            result.set_exception(outcome)
        else:
            result.set_result(outcome)


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


def _spool(writes: Sequence[Call]) -> int:
    from gradclip.tracking.spool import Spool

    spool = Spool(Path(writes[0].folder))
    for call in writes:
        if delivery_of(call.operation) is Delivery.WRITE:
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
    """Initialize the tracking process: ignore stop signals, since the training process closes the run; exit with it."""
    global _is_replacement  # noqa: PLW0603  # once, before the first call
    _is_replacement = is_replacement
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _perform(function: str, *arguments: Any) -> Any:
    """Call a function of ``delivery``; importing that loads MLflow, so only the tracking process does."""
    load_module("gradclip.tracking.backend.delivery")
    from gradclip.tracking.backend import delivery

    if function == "begin_run":
        call, spool = arguments
        return delivery.begin_run(call, spool, _is_replacement)
    return getattr(delivery, function)(*arguments)


def _perform_together(writes: Sequence[tuple[str, tuple[Any, ...]]]) -> list[Any]:
    load_module("gradclip.tracking.backend.collected_writes")
    from gradclip.tracking.backend.collected_writes import perform_together

    return perform_together(writes, _is_replacement)


def load_module(name: str) -> None:
    """Import a module and its dependencies with garbage collection disabled, unless it is loaded already.

    Modules are never garbage, but the collector traverses them repeatedly. This takes 10 to 20% of the loading time,
    some time during training, and a second at exit.
    """
    if name in sys.modules:
        return
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        import_module(name)
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()
