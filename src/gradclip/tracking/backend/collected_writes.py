"""Writes to many runs in one call, as one database transaction where possible."""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple
from uuid import uuid4

from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH, MAX_TAG_VAL_LENGTH

from gradclip.formatting import shortened
from gradclip.tracking.backend import delivery
from gradclip.tracking.backend.bulk_insert import NewRun, insert_starts
from gradclip.tracking.backend.database import STORE_ERRORS
from gradclip.tracking.backend.operations import backend_of
from gradclip.tracking.backend.writes import MAX_NAME, shortened_values
from gradclip.tracking.operations import Operations, named_arguments
from gradclip.tracking.records import Call

NOTES_AT_ONCE = 8
Write = tuple[str, tuple[Any, ...]]  # the name of a function in ``delivery``, and its arguments
BEGIN_RUN, DELIVER, COMPLETE_RUN = (
    delivery.begin_run.__name__,
    delivery.deliver.__name__,
    delivery.complete_run.__name__,
)
START = (Operations.create_run.__name__, Operations.write_parameters.__name__, Operations.write_datasets.__name__)


class RunStart(NamedTuple):
    """The three writes that create and describe a run, and their indices among all writes."""

    create: Call
    parameters: Call
    datasets: Call
    indices: list[int]


def perform_together(writes: Sequence[Write], repeated: bool) -> list[Any]:
    """Perform writes to runs: the writes of each run in order, and the writes that end runs after all others.

    If they are repeated, they may have been performed already.

    Returns:
        The result of each write, or the exception that it raised.
    """
    outcomes: dict[int, Any] = {} if repeated else _begin_together(writes)
    for index, write in enumerate(writes):
        if index not in outcomes and write[0] != COMPLETE_RUN:
            outcomes[index] = _outcome(write, repeated)
    ends = [index for index, (name, _) in enumerate(writes) if name == COMPLETE_RUN]
    completed = delivery.complete_runs([writes[index][1] for index in ends])
    outcomes |= zip(ends, completed, strict=True)
    return [outcomes[index] for index in range(len(writes))]


def _begin_together(writes: Sequence[Write]) -> dict[int, Any]:
    """Begin the first run by MLflow's own calls and insert runs that are like it; return outcomes by index of write."""
    starts = _run_starts(writes)
    if len(starts) < 2:
        return {}
    first, *others = starts
    outcomes = {index: _outcome(writes[index], repeated=False) for index in first.indices}
    begun = outcomes[first.indices[0]]
    if any(isinstance(outcome, Exception) for outcome in outcomes.values()) or begun.experiment_id is None:
        return outcomes
    kind = _kind(first)
    alike = [start for start in others if _kind(start) == kind]
    inserted = [begun._replace(run_id=run_id) for run_id in _insert_like(first, begun.run_id, alike)]
    with ThreadPoolExecutor(NOTES_AT_ONCE) as pool:  # a disk syncs many files almost as fast as one
        list(pool.map(delivery.note_begun, (start.create for start in alike), inserted))
    for start, like in zip(alike, inserted, strict=False):  # all or none were inserted
        outcomes |= zip(start.indices, (like, 0, 0), strict=True)
    return outcomes


def _run_starts(writes: Sequence[Write]) -> list[RunStart]:
    """Return the starts of all runs that are created and described by the writes."""
    found: dict[str, dict[str, int]] = defaultdict(dict)  # indices of writes, by run and operation
    for index, (name, arguments) in enumerate(writes):
        if name in {BEGIN_RUN, DELIVER}:
            found[arguments[0].run_id][arguments[0].operation] = index
    starts = []
    for index_of in found.values():
        if index_of.keys() >= set(START):
            indices = [index_of[operation] for operation in START]
            create, parameters, datasets = (writes[index][1][0] for index in indices)
            starts.append(RunStart(create, parameters, datasets, indices))
    return starts


def _kind(start: RunStart) -> tuple[Any, ...]:
    """Return what runs that are inserted together must share: their store, their parent run and their data sets."""
    return start.create.store, named_arguments(start.create)["parent"], start.datasets.arguments


def _insert_like(first: RunStart, template: str, alike: Sequence[RunStart]) -> list[str]:
    """Insert runs like the first, whose id is ``template``; return their ids, none if they cannot be inserted."""
    store = first.create.store
    if not (alike and delivery.is_healthy_database(store, [start.create.folder for start in (first, *alike)])):
        return []
    new = [_new_run(start) for start in alike]
    with suppress(*STORE_ERRORS):  # the ordinary writes fail too, or succeed
        locations = insert_starts(store.uri, template, named_arguments(first.create)["tags"], new)
        if locations is not None:
            ids = [run.run_id for run in new]
            backend_of(store).note_locations(dict(zip(ids, locations, strict=True)))
            return ids
    return []


def _new_run(start: RunStart) -> NewRun:
    created = named_arguments(start.create)
    return NewRun(
        uuid4().hex,
        shortened(created["name"], MAX_NAME),
        shortened_values(created["tags"], MAX_TAG_VAL_LENGTH),
        shortened_values(start.parameters.arguments[0], MAX_PARAM_VAL_LENGTH),
        created["start"],
    )


def _outcome(write: Write, repeated: bool) -> Any:
    """Perform a write that does not end a run; return its result or exception."""
    name, arguments = write
    try:
        if name == BEGIN_RUN:
            call, spool = arguments
            return delivery.begin_run(call, spool, repeated)
        return delivery.deliver(*arguments)
    except Exception as error:
        return error
