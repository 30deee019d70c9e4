"""Writes to many runs in one call, as one database transaction where possible."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
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
PARAMETERS, DATASETS = DESCRIPTIONS = Operations.write_parameters.__name__, Operations.write_datasets.__name__


def perform_together(writes: Sequence[Write], repeated: bool) -> list[Any]:
    """Perform writes to runs: the writes of each run in order, and the writes that end runs after all others.

    Args:
        writes: writes to runs.
        repeated: whether they may have been performed already.

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
    starts = {arguments[0].run_id: index for index, (name, arguments) in enumerate(writes) if name == BEGIN_RUN}
    if len(starts) < 2:
        return {}
    first, *others = [writes[index][1][0] for index in starts.values()]
    described = {
        (call.run_id, call.operation): index for index, (name, (call, *_)) in enumerate(writes) if name == DELIVER
    }
    indices = [starts[first.run_id], *(described.get((first.run_id, operation), -1) for operation in DESCRIPTIONS)]
    if -1 in indices:
        return {}
    outcomes = {index: _outcome(writes[index], repeated=False) for index in indices}
    begun = outcomes[indices[0]]
    if any(isinstance(outcome, Exception) for outcome in outcomes.values()) or begun.experiment_id is None:
        return outcomes
    arguments_of = {key: writes[index][1][0].arguments for key, index in described.items()}
    inserted = [
        (call, begun._replace(run_id=run_id))
        for call, run_id in _insert_like(first, begun.run_id, others, arguments_of)
    ]
    with ThreadPoolExecutor(NOTES_AT_ONCE) as pool:  # a disk syncs many files almost as fast as one
        [*pool.map(lambda one: delivery.note_begun(*one), inserted)]
    for call, like in inserted:
        outcomes[starts[call.run_id]] = like
        outcomes |= {described[call.run_id, operation]: 0 for operation in DESCRIPTIONS}
    return outcomes


def _insert_like(
    first: Call, template: str, others: Sequence[Call], arguments_of: Mapping[tuple[str, str], tuple[Any, ...]]
) -> list[tuple[Call, str]]:
    """Insert runs that have the same parent and data sets as an existing one.

    Args:
        first: the call that created the existing run.
        template: id of that run.
        others: the calls that create the new runs.
        arguments_of: arguments of the writes that describe the runs, by creation tag and operation.

    Returns:
        The calls whose runs were created, all or none, and the ids of these runs.
    """
    creations = {call.run_id: named_arguments(call) for call in (first, *others)}

    def is_alike(call: Call) -> bool:
        datasets = arguments_of.get((call.run_id, DATASETS))
        is_described = (call.run_id, PARAMETERS) in arguments_of and datasets == arguments_of[first.run_id, DATASETS]
        if not is_described or (call.operation, call.store) != (first.operation, first.store):
            return False
        return bool(creations[call.run_id]["parent"] == creations[first.run_id]["parent"])

    alike = [call for call in others if is_alike(call)]
    if not (alike and delivery.is_healthy_database(first.store, [call.folder for call in (first, *alike)])):
        return []
    new = [
        NewRun(
            uuid4().hex,
            shortened(creations[call.run_id]["name"], MAX_NAME),
            shortened_values(creations[call.run_id]["tags"], MAX_TAG_VAL_LENGTH),
            shortened_values(arguments_of[call.run_id, PARAMETERS][0], MAX_PARAM_VAL_LENGTH),
            creations[call.run_id]["start"],
        )
        for call in alike
    ]
    with suppress(*STORE_ERRORS):  # the ordinary writes fail too, or succeed
        locations = insert_starts(first.store.uri, template, creations[first.run_id]["tags"], new)
        if locations is not None:
            ids = [run.run_id for run in new]
            backend_of(first.store).note_locations(dict(zip(ids, locations, strict=True)))
            return list(zip(alike, ids, strict=True))
    return []


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
