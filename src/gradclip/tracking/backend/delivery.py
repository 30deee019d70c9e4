"""Delivery of writes to the store: retry for a while, then spool. Runs in the tracking process."""

import time
from functools import cache, partial
from pathlib import Path
from typing import Any

from gradclip import keys
from gradclip.errors import AbsentStoreError, RefusedWriteError, TrackingError, UnreachableStoreError, first_line
from gradclip.tracking.backend.accepted import are_stored
from gradclip.tracking.backend.database import STORE_ERRORS
from gradclip.tracking.backend.deadline import seconds_for, within
from gradclip.tracking.backend.failures import failure
from gradclip.tracking.backend.operations import backend_of
from gradclip.tracking.calls import RunAddress
from gradclip.tracking.operations import WRITES, Operations, named_arguments, needs_run
from gradclip.tracking.records import BegunRun, Call, Store
from gradclip.tracking.signature import write_run_note
from gradclip.tracking.spool import REFUSED_FILE, Spool

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds between two attempts
OPEN, CREATE_RUN, END_RUN = Operations.open.__name__, Operations.create_run.__name__, Operations.end_run.__name__

_begun: dict[str, BegunRun | TrackingError] = {}  # runs that this process began or failed to begin, by id in calls


@cache
def spool_of(folder: str) -> Spool:
    """Return the spool of a run, always the same object."""
    return Spool(Path(folder))


def query(store: Store, operation: str, *args: Any) -> Any:
    """Perform an operation without retries; opening a store spends the retry budget of the writes that wait for it.

    Args:
        store: the store.
        operation: name of the operation.
        *args: its arguments.

    Raises:
        TrackingError: the store refuses the operation, or does not answer.
    """
    if operation == OPEN:
        return _write_within_budget(Call(store, OPEN, "", (), ""))
    try:
        return getattr(backend_of(store), operation)(*args)
    except STORE_ERRORS as error:
        raise failure(store, operation, error) from error


def note_begun(call: Call, begun: BegunRun) -> BegunRun:
    """Remember a run that was created or reopened, write a note with its id to its folder, and return the run."""
    _begun[call.run_id] = begun
    config_hash = named_arguments(call)["tags"].get(keys.CONFIG_HASH, "")
    write_run_note(Path(call.folder), begun.run_id, call.run_id, config_hash)
    return begun


def begin_run(call: Call, repeated: bool = False, spool: bool = False) -> BegunRun:
    """Create or reopen a run, and write a note with its id to its folder.

    Args:
        call: a call of ``create_run`` or ``reopen_run``.
        repeated: whether the run may have been created already.
        spool: whether to spool the creation if the store could be opened but then fails; for a store that cannot be
            opened, ``spool_if_absent`` decides. The id of a spooled run is its creation tag.

    Raises:
        TrackingError: the store cannot be opened, or refuses the run.
    """
    try:
        experiment_id = write_with_retries(call._replace(operation=OPEN, arguments=()))
        run_id = write_with_retries(_as_repeated(call) if repeated else call)
        begun = BegunRun(experiment_id, run_id or call.run_id)
    except TrackingError as error:
        may_spool = call.store.spool_if_absent or (spool and isinstance(error, UnreachableStoreError))
        if not (may_spool and call.operation == CREATE_RUN):
            _begun[call.run_id] = error
            raise
        spool_of(call.folder).add(call)
        begun = BegunRun(None, call.run_id)
    return note_begun(call, begun)


def deliver(call: Call) -> int:
    """Write to the store, or to the spool if the store is unavailable; return the number of writes in the spool.

    Raises:
        TrackingError: the store refuses the write for good, or the spool cannot be written either.
    """
    spool, call = spool_of(call.folder), call._replace(run_id=store_id(call))
    if call.operation not in WRITES:
        write_once(call)
    elif spool.path.exists():
        _spool(call, spool)
    else:
        try:
            write_with_retries(call)
            _confirm(call, spool)
        except RefusedWriteError as error:
            raise RefusedWriteError(f"{error}; {_kept(call, spool)}") from error
        except TrackingError:  # even for a changed password: the write can be sent with the new one
            _spool(call, spool)
    return len(spool)


def _kept(call: Call, spool: Spool) -> str:
    """Keep a write that the store refuses beside the run, and return where it is."""
    try:
        spool.keep_refused([call])
    except OSError as error:
        return f"the write cannot be kept either: {first_line(error)}"
    return f"the write is kept in {spool.folder / REFUSED_FILE}"


def _confirm(call: Call, spool: Spool) -> None:
    """At the end of a run, check that a server has all writes that it accepted; if not, spool all of them."""
    backend = backend_of(call.store)
    if not backend.is_server:
        return
    if call.operation != Operations.write_model.__name__:  # its files are gone by then
        backend.accepted[call.run_id].append(call)
    if call.operation != END_RUN:
        return
    accepted = backend.accepted.pop(call.run_id)
    try:
        is_whole = within(seconds_for(call, 0.0), lambda: are_stored(accepted, backend, call.run_id))
    except STORE_ERRORS:
        is_whole = False
    if not is_whole:
        for write in accepted:
            spool.add(write)


def replay(folder: str, adopt: bool) -> int:
    """Perform all writes in the spool of a run's folder, with ``adopt`` even unsigned ones, and return their number.

    Raises:
        TrackingError: the store does not accept the writes, or they are not signed.
    """
    spool = spool_of(folder)
    try:
        spool.calls(adopt)  # before a lock file is created in a folder that may not be ours
        return spool.replay(lambda call: write_once(_as_repeated(call)), adopt)
    except OSError as error:
        raise TrackingError(f"{spool.path}: cannot be read or written: {first_line(error)}") from error


def store_id(run: RunAddress | Call) -> str:
    """Return the store's id of a run, which may be named by its creation tag."""
    begun = _begun.get(run.run_id)
    if isinstance(begun, TrackingError):
        raise begun
    if begun and begun.experiment_id is not None:
        return begun.run_id
    return spool_of(run.folder).id_of(begun.run_id if begun else run.run_id)


def _spool(call: Call, spool: Spool) -> None:
    """Append a write to the spool, and try to replay the spool if an attempt is due."""
    try:
        spool.add(call)
        if spool.is_due or call.operation == END_RUN:
            spool.replay(lambda waiting: _write_within_budget(_as_repeated(waiting)))
    except RefusedWriteError:
        raise
    except TrackingError:  # it stays in the spool, and src/sync.py reports why
        return
    except OSError as error:
        raise TrackingError(f"{spool.path}: cannot be written: {error.strerror or error}") from error


def write_with_retries(call: Call) -> Any:
    """Write to the store, and retry as long as the budget lasts.

    Raises:
        UnreachableStoreError: the budget is spent.
        TrackingError: another attempt cannot succeed.
    """
    budget, pause = backend_of(call.store).budget, FIRST_PAUSE
    while True:
        try:
            return _write_within_budget(call)
        except UnreachableStoreError as error:
            if budget.left < pause:
                raise
            start = time.monotonic()
            time.sleep(pause)
            budget.spend(start, error)
        pause = min(2 * pause, LONGEST_PAUSE)
        call = _as_repeated(call)


def _as_repeated(call: Call) -> Call:
    """Mark a creation as one that may have succeeded before, so that it looks for the run first."""
    if call.operation != CREATE_RUN:
        return call
    arguments = named_arguments(call) | {"repeated": True}
    return call._replace(arguments=tuple(arguments.values()))


def _write_within_budget(call: Call) -> Any:
    """Write to the store without retries, and spend the time of a failure from the retry budget."""
    budget, start = backend_of(call.store).budget, time.monotonic()
    budget.check()
    try:
        return write_once(call)
    except (UnreachableStoreError, AbsentStoreError) as error:
        budget.spend(start, error)
        raise


def write_once(call: Call) -> Any:
    """Write to the store, without retries.

    Raises:
        UnreachableStoreError: another attempt may succeed.
        RefusedWriteError: the store will never accept the write.
        TrackingError: the store may accept it once the user has fixed something, such as a password.
    """
    run = (call.run_id,) if needs_run(call.operation) else ()
    backend = backend_of(call.store)
    operate = partial(getattr(backend, call.operation), *run, *call.arguments)
    try:
        if not backend.is_server:
            return operate()
        return within(seconds_for(call, backend.budget.left), operate)
    except STORE_ERRORS as error:
        raise failure(call.store, call.operation, error) from error
