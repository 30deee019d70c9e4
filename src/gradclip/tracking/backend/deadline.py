"""Deadline for a whole call to a server, even if the server answers slowly."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from gradclip.tracking.operations import Operations
from gradclip.tracking.records import Call
from gradclip.tracking.spool import files_of

T = TypeVar("T")
MIN_SECONDS = 5.0  # for one call, even if less of the budget is left
MODEL_SECONDS = 60.0  # extra time for a model: MLflow loads and packages much of its own code before it sends anything
MIN_UPLOAD = 100_000  # bytes per second: the slowest upload that a deadline allows for


def seconds_for(call: Call, left: float) -> float:
    """Return how many seconds a call may take: those left in the budget, and more for a model or large files."""
    size = sum(path.stat().st_size for path in files_of(call))
    packaging = MODEL_SECONDS if call.operation == Operations.write_model.__name__ else 0.0
    return max(left, MIN_SECONDS) + packaging + size / MIN_UPLOAD


def within(seconds: float, function: Callable[[], T]) -> T:
    """Call a function and stop waiting for it after some seconds.

    A timeout of ``requests`` restarts with every byte, so it does not limit a whole call. An abandoned call continues
    in a daemon thread, which does not keep the process from ending; each write can be repeated without harm.

    Raises:
        TimeoutError: the time ran out.

    Example:
        >>> within(60.0, lambda: "an answer")
        'an answer'
    """
    answer: Future[T] = Future()

    def call() -> None:
        try:
            answer.set_result(function())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    try:
        return answer.result(seconds)
    except TimeoutError as error:
        if answer.done():  # raised by the function itself
            raise
        raise TimeoutError(f"no complete answer within {seconds:.0f} s") from error
