"""Bring every write to the store: try again for a while, then spool it. Runs in the tracking process."""

import time
from functools import cache
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from gradclip import keys
from gradclip.errors import TrackingError, first_line
from gradclip.tracking.backend import connection as opening
from gradclip.tracking.backend import models as model
from gradclip.tracking.backend import recovery as stopped
from gradclip.tracking.backend import writes as store
from gradclip.tracking.backend.retry_budget import RetryBudget
from gradclip.tracking.records import Call, Store
from gradclip.tracking.spool import Spool

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds between two tries
NON_RETRYABLE = {  # what MLflow answers where trying again cannot help
    *("RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE", "INVALID_STATE"),
    *("PERMISSION_DENIED", "UNAUTHENTICATED", "ENDPOINT_NOT_FOUND", "NOT_FOUND"),
}
LOCAL = {"keep_checkpoint", "start_system_metrics"}  # what needs no store, once all before it is safe
OF_NO_RUN = {"create_run", "open_store", "mark_dead_runs"}


@cache
def spool_of(folder: str) -> Spool:
    """The one spool of a run."""
    return Spool(Path(folder))


@cache
def retry_budget_of(store: Store) -> RetryBudget:
    """The patience that all writes to a store have in common."""
    return RetryBudget(store.patience)


class UnreachableError(TrackingError):
    """The store did not take a write, and may do so later."""


def begin_run(call: Call) -> tuple[str | None, str]:
    """Create a run, or open one again, and return the ids of its experiment and its own.

    Where the store cannot be opened it may be created later, if that is wished; its id is then one of ours.

    Raises:
        TrackingError: the store cannot be opened.
    """
    try:
        experiment_id = retry(call._replace(function_name="open_store", arguments=()))
        retry(call._replace(function_name="mark_dead_runs", arguments=()))
        run_id = retry(call)
    except TrackingError:
        if not (call.store.spool_if_absent and call.function_name == "create_run"):
            raise
        return None, create_later(call)
    return experiment_id, run_id or call.run_id


def create_later(call: Call) -> str:
    """Spool the creation of a run, and return an id of ours until it has its own."""
    spool_of(call.folder).add(call)
    return str(call.arguments[1][keys.CREATION])


def deliver(call: Call) -> int:
    """Write to the store, or to the spool where the store does not take it, and return how many writes wait there.

    Raises:
        TrackingError: the store refuses the write for good, or the spool cannot be written either.
    """
    spool = spool_of(call.folder)
    call = call._replace(run_id=spool.id_of(call.run_id))
    if call.function_name in LOCAL:
        perform(call)
    elif spool.path.exists():
        _spool(call, spool)
    else:
        try:
            retry(call)
        except UnreachableError:
            _spool(call, spool)
    return len(spool)


def replay(folder: str) -> int:
    """Take in what waits in a run's folder, and return how many writes it were.

    Raises:
        TrackingError: the store does not take it.
    """
    return spool_of(folder).replay(perform)


def _spool(call: Call, spool: Spool) -> None:
    """Put a write behind those that wait, and now and then try to take all of them in."""
    try:
        spool.add(call)
        if spool.is_due or call.function_name == "end_run":
            spool.replay(_attempt)
    except TrackingError:  # it waits, and src/sync.py tells why
        return
    except OSError as error:
        raise TrackingError(f"{spool.path}: cannot be written: {error.strerror or error}") from error


def retry(call: Call) -> Any:
    """Write to the store, and try again as long as there is patience with it.

    Raises:
        UnreachableError: there is no more.
        TrackingError: trying again cannot help.
    """
    patience, pause = retry_budget_of(call.store), FIRST_PAUSE
    while True:
        try:
            return _attempt(call)
        except UnreachableError:
            if patience.left < pause:
                raise
        patience.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _attempt(call: Call) -> Any:
    patience, start = retry_budget_of(call.store), time.monotonic()
    patience.check()
    try:
        return perform(call)
    except (UnreachableError, opening.AbsentError) as error:
        patience.spend(start, error)
        raise


def perform(call: Call) -> Any:
    """Write to the store, once.

    Raises:
        UnreachableError: another try may succeed.
        TrackingError: none can.
    """
    module = next(module for module in (opening, store, stopped, model) if hasattr(module, call.function_name))
    run = () if call.function_name in OF_NO_RUN else (call.run_id,)
    try:
        return getattr(module, call.function_name)(call.store, *run, *call.arguments)
    except opening.STORE_ERRORS as error:
        if isinstance(error, MlflowException) and error.error_code in NON_RETRYABLE:
            raise TrackingError(failure(call, error)) from error
        raise UnreachableError(failure(call, error)) from error


def failure(call: Call, error: Exception) -> str:
    """Say in one line what could not be written and why."""
    what = call.function_name.replace("_", " ")
    return f"tracking.uri: got {call.store.uri!r}; could not {what}: {first_line(error)}"
