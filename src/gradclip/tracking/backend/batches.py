"""Beginning and completing many runs, in one database transaction where possible."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from uuid import uuid4

from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH, MAX_TAG_VAL_LENGTH

from gradclip.errors import RefusedWriteError
from gradclip.formatting import shortened
from gradclip.tracking.backend.bulk_insert import NewRun, insert_ends, insert_starts
from gradclip.tracking.backend.database import STORE_ERRORS
from gradclip.tracking.backend.delivery import begin_run, deliver, note_begun, spool_of, store_id
from gradclip.tracking.backend.operations import backend_of
from gradclip.tracking.backend.writes import MAX_NAME, shortened_values
from gradclip.tracking.calls import RunAddress, files_of_end, numbers_of_end
from gradclip.tracking.operations import Operations, named_arguments
from gradclip.tracking.records import BegunRun, Call, RunEnd, RunStart, Store

NOTES_AT_ONCE = 8


def begin_runs(starts: Sequence[RunStart], repeated: bool) -> list[BegunRun | Exception]:
    """Create and describe runs: the first by MLflow's own calls, similar ones in one transaction.

    Args:
        starts: the writes that begin each run.
        repeated: whether they may have been performed already.

    Returns:
        For each run its ids, or the exception that one of its writes raised.
    """
    first, *others = starts
    begun = _begin(first, repeated)
    inserted = {} if repeated or isinstance(begun, Exception) else _insert_like(first, begun, others)
    return [begun, *(_begin(start, repeated, inserted.get(start.create.run_id)) for start in others)]


def _begin(start: RunStart, repeated: bool, inserted: "Future[BegunRun] | None" = None) -> BegunRun | Exception:
    """Begin a run by MLflow's own calls; if it is inserted already, only its config is missing."""
    try:
        begun = inserted.result() if inserted else begin_run(start.create, repeated, spool=True)
        writes = (start.config,) if inserted else (start.config, start.parameters, start.datasets)
        return begun._replace(refused=_deliver_all(writes)[1])
    except Exception as error:
        return error


def _insert_like(first: RunStart, begun: BegunRun, others: Sequence[RunStart]) -> "dict[str, Future[BegunRun]]":
    """Insert the runs that share store, parent run and data sets with the first; return them by creation tag.

    A future has an exception if the note with the run's id could not be written.
    """
    store = first.create.store
    alike = [start for start in others if _shared(start) == _shared(first)]
    is_stored = begun.experiment_id is not None
    if not (alike and is_stored and _is_healthy_database(store, [start.create.folder for start in (first, *alike)])):
        return {}
    new, locations = [_new_run(start) for start in alike], None
    with suppress(*STORE_ERRORS):  # the ordinary writes fail too, or succeed
        locations = insert_starts(store.uri, begun.run_id, named_arguments(first.create)["tags"], new)
    if locations is None:
        return {}
    backend_of(store).locations.update(locations)
    with ThreadPoolExecutor(NOTES_AT_ONCE) as pool:  # a disk syncs many files almost as fast as one
        return {
            start.create.run_id: pool.submit(note_begun, start.create, begun._replace(run_id=run.run_id))
            for start, run in zip(alike, new, strict=True)
        }


def _shared(start: RunStart) -> tuple[Any, ...]:
    return start.create.store, named_arguments(start.create)["parent"], start.datasets.arguments


def _new_run(start: RunStart) -> NewRun:
    created = named_arguments(start.create)
    return NewRun(
        uuid4().hex,
        shortened(created["name"], MAX_NAME),
        shortened_values(created["tags"], MAX_TAG_VAL_LENGTH),
        shortened_values(start.parameters.arguments[0], MAX_PARAM_VAL_LENGTH),
        created["start"],
    )


def complete_runs(ends: Sequence[tuple[RunAddress, RunEnd]]) -> list[int | Exception]:
    """Store the files of runs, then everything else that ends them, and set them to FINISHED.

    In a database that has not failed recently, everything but the files is written in one transaction.

    Returns:
        For each run the number of writes in its spool, or the exception that one of its writes raised.
    """
    outcomes = {run: _deliver_some([files_of_end(run)], end) for run, end in ends}
    refused = {run: error for run, error in outcomes.items() if isinstance(error, RefusedWriteError)}
    stored = [(run, end) for run, end in ends if run in refused or not isinstance(outcomes[run], Exception)]
    for store in {run.store for run, _ in stored}:
        some = [(run, end) for run, end in stored if run.store == store]
        at_once = _insert_ends(store, some)
        for run, end in some:
            done = 0 if at_once else _deliver_some(numbers_of_end(run, end), end)
            outcomes[run] = done if isinstance(done, Exception) else refused.get(run, done)
    return [outcomes[run] for run, _ in ends]


def _deliver_some(writes: Sequence[Call], end: RunEnd) -> int | Exception:
    """Deliver some of the writes that end a run; if one fails, set the run to FAILED and return the error.

    A write that the store refuses for good does not fail the run; its error is returned after the others succeeded.
    """
    try:
        unsent, refused = _deliver_all(writes)
        return refused or unsent
    except Exception as error:
        with suppress(Exception):  # the first failure is reported
            deliver(writes[0]._replace(operation=Operations.end_run.__name__, arguments=("FAILED", end.end)))
        return error


def _deliver_all(writes: Sequence[Call]) -> tuple[int, RefusedWriteError | None]:
    """Deliver writes, also those after a refused one; return the number in the spool and the first refusal."""
    unsent, refused = 0, None
    for write in writes:
        try:
            unsent = deliver(write)
        except RefusedWriteError as error:
            refused = refused or error
    return unsent, refused


def _is_healthy_database(store: Store, folders: Sequence[str]) -> bool:
    """Return whether a store is a database that has not failed recently, and none of the folders has a spool."""
    backend = backend_of(store)
    if backend.is_server or not backend.budget.is_full:
        return False
    return not any(spool_of(folder).path.exists() for folder in folders)


def _insert_ends(store: Store, ends: Sequence[tuple[RunAddress, RunEnd]]) -> bool:
    """Try to write the ends of runs in one transaction, and return whether that succeeded."""
    if not _is_healthy_database(store, [run.folder for run, _ in ends]):
        return False
    with suppress(*STORE_ERRORS):  # the ordinary writes fail too, or succeed
        return insert_ends(store.uri, [(store_id(run), end) for run, end in ends])
    return False
