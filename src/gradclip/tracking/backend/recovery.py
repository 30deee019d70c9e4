"""Runs that ended: find them, open them again, and close those whose process is gone. Runs in the tracking process."""

import re
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psutil
from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException

from gradclip import keys
from gradclip.errors import TrackingError
from gradclip.tracking.backend.connection import client, open_store
from gradclip.tracking.backend.queries import to_stored
from gradclip.tracking.backend.writes import created_as
from gradclip.tracking.owner import process_identity
from gradclip.tracking.records import StoppedRun, Store
from gradclip.tracking.stored_runs import StoredRun

LAST = "last"


def find_run(store: Store, which: str) -> StoppedRun:
    """Find a run to take up, by its id or as the ``last`` that stopped on this machine.

    Raises:
        TrackingError: there is none, or it is finished or still running.
    """
    experiment_id = open_store(store)
    run = _last_stopped(store, experiment_id) if which == LAST else _get(store, which)
    tags = run.data.tags
    if run.info.status == "FINISHED":
        raise TrackingError(f"resume: got {which!r}; that run is finished")
    if run.info.status == "RUNNING" and not is_dead(run):
        raise TrackingError(f"resume: got {which!r}; that run is still going on, on {tags.get(keys.HOST)}")
    last_steps = {metric.key: metric.step for metric in run.data._metric_objs}
    config = _read_config(store, run.info.run_id)
    folder, host = tags.get(keys.FOLDER, ""), tags.get(keys.HOST, "")
    return StoppedRun(run.info.run_id, run.info.run_name, folder, host, config, frozenset(run.data.params), last_steps)


def find_finished(store: Store, config_hash: str) -> StoredRun | None:
    """Find the last finished run of the same settings in the store's experiment."""
    same = f"attributes.status = 'FINISHED' and tags.{keys.CONFIG_HASH} = '{config_hash}'"
    for run in client(store.uri).search_runs([open_store(store)], same, max_results=1):
        return to_stored(run)
    return None


def reopen_run(store: Store, run_id: str, tags: Mapping[str, str]) -> None:
    """Open a run again, for the process that its tags tell of."""
    client(store.uri).log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    client(store.uri).update_run(run_id, status="RUNNING")


def mark_dead_runs(store: Store) -> None:
    """Close the runs of this machine whose process is gone: it was killed, or the power went.

    An empty one that a server created too, after the run that it was asked for had ended, is deleted.
    """
    here = f"attributes.status = 'RUNNING' and tags.{keys.HOST} = '{socket.gethostname()}'"
    running = client(store.uri).search_runs([open_store(store)], here)
    for run in sorted(running, key=_is_empty):  # an empty one is known as a twin by the other's end
        if _is_empty(run) and _is_late_duplicate(store, run):
            client(store.uri).delete_run(run.info.run_id)
        elif is_dead(run):
            client(store.uri).set_terminated(run.info.run_id, "KILLED")


def _is_empty(run: Run) -> bool:
    return not (run.data.params or run.data.metrics)


def _is_late_duplicate(store: Store, run: Run) -> bool:
    """Whether the run that this one repeats is over, so that nothing will ever write to this one."""
    creation = run.data.tags.get(keys.CREATION)
    return any(other.info.status != "RUNNING" for other in created_as(store, creation))


def is_dead(run: Run) -> bool:
    """Whether a run's process ran on this machine and is gone."""
    number, _, _ = run.data.tags.get(keys.PROCESS, "").partition(" ")
    if run.data.tags.get(keys.HOST) != socket.gethostname() or not number.isdecimal():
        return False
    try:
        return bool(process_identity(psutil.Process(int(number))) != run.data.tags[keys.PROCESS])
    except psutil.NoSuchProcess:
        return True


def _get(store: Store, run_id: str) -> Run:
    if not re.fullmatch("[0-9a-f]{32}", run_id):
        raise TrackingError(f"resume: got {run_id!r}; must be the id of a run, 32 hexadecimal digits, or {LAST!r}")
    try:
        return client(store.uri).get_run(run_id)
    except MlflowException as error:
        raise TrackingError(f"resume: got {run_id!r}; there is no such run in {store.uri}") from error


def _last_stopped(store: Store, experiment_id: str) -> Run:
    here = f"tags.{keys.HOST} = '{socket.gethostname()}'"
    for run in client(store.uri).search_runs([experiment_id], here, order_by=["attributes.start_time DESC"]):
        stopped = run.info.status in {"KILLED", "FAILED"} or (run.info.status == "RUNNING" and is_dead(run))
        if stopped and keys.FOLDER in run.data.tags:
            return run
    raise TrackingError(f"resume: got {LAST!r}; no run of experiment {store.experiment!r} was stopped on this machine")


def _read_config(store: Store, run_id: str) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        try:
            return Path(client(store.uri).download_artifacts(run_id, keys.CONFIG_FILE, scratch)).read_text()
        except (MlflowException, OSError) as error:
            raise TrackingError(f"resume: got {run_id!r}; the run was stopped before its config was stored") from error
