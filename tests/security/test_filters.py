"""Hostile or damaged runs do not prevent other runs from being created, found, compared or closed."""

import os
import socket
from pathlib import Path

import pytest
from mlflow import MlflowClient

from gradclip import keys
from gradclip.compare.comparison import compare
from gradclip.errors import TrackingError
from gradclip.scores import MSE
from gradclip.tracking.backend.connection import PAGE
from gradclip.tracking.backend.operations import Backend, backend_of
from gradclip.tracking.owner import is_dead, process_identity
from gradclip.tracking.records import Parent, Store
from tests.support.stores import make_store, write_run

HOSTILE = ("x' y", "' or tags.creation LIKE '%", "a\0b", "`", "", "9" * 300)
GONE = process_identity(os.getpid()).replace(str(os.getpid()), "999999", 1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path)


def hostile_runs(store: Store) -> MlflowClient:
    """Create RUNNING runs of this host with tags that gradclip never writes."""
    write_run(store, 1.0, 0, {})
    client, experiment = MlflowClient(store.uri), backend_of(store).experiment_id
    for value in HOSTILE:
        names = (keys.CREATION, keys.LOCK, keys.FOLDER, keys.PROCESS, keys.PARENT_RUN, keys.CONFIG_HASH, keys.OUTCOME)
        client.create_run(experiment, tags={keys.HOST: socket.gethostname()} | dict.fromkeys(names, value))
    return client


def test_tags_are_never_inserted_into_filters_unchecked(store: Store) -> None:
    client = hostile_runs(store)
    backend = Backend(store)
    assert backend.open() == backend.experiment_id
    tags = {keys.CREATION: "0" * 32, keys.HOST: socket.gethostname(), keys.PROCESS: GONE}
    run_id = backend.create_run("ours", tags, None, None, repeated=True)
    assert backend.create_run("ours", tags, None, None, repeated=True) == run_id
    Backend(store).open()
    assert client.get_run(run_id).info.status == "KILLED"
    backend.end_run(run_id, "FINISHED")
    with pytest.raises(TrackingError, match="none of your runs in experiment 'gradclip'"):
        backend.find_stopped_run("last")
    assert len(backend.read_newest_runs(10)) == 1


def test_a_dead_run_is_closed_even_if_many_runs_claim_to_run_on_this_host(store: Store) -> None:
    write_run(store, 1.0, 0, {})
    backend, here = backend_of(store), {keys.HOST: socket.gethostname()}
    dead = backend.create_run("dead", here | {keys.PROCESS: GONE}, None, 1)
    for start in range(2, PAGE + 3):
        backend.create_run("hostile", here, None, start)
    Backend(store).open()
    assert backend.client.get_run(dead).info.status == "KILLED"


@pytest.mark.parametrize("lock", ["/tmp/a\0b/run.lock", "/dev/null", "/" * 5000 + "run.lock", "\ud800/run.lock"])
def test_an_invalid_lock_path_is_ignored(lock: str) -> None:
    tags = {keys.HOST: socket.gethostname(), keys.PROCESS: process_identity(os.getpid()), keys.LOCK: lock}
    assert not is_dead(tags)
    assert is_dead(tags | {keys.PROCESS: GONE})


def test_a_run_without_a_result_does_not_count_as_finished(store: Store) -> None:
    whole = write_run(store, 1.0, 0, {})
    backend = backend_of(store)
    backend.client.set_tag(whole, keys.CONFIG_HASH, "0" * 16)
    for outcome, metric in (("failed", MSE.final("test")), ("learned", MSE.final("test")), ("learned", "other")):
        run_id = backend.create_run("hostile", {keys.CONFIG_HASH: "0" * 16, keys.OUTCOME: outcome}, None, None)
        backend.write_summary(run_id, {metric: 0.0}, {}, 0)
        backend.end_run(run_id, "FINISHED")
    found = backend.find_finished_run("0" * 16)
    assert found is not None
    assert found.run_id == whole


def test_the_newest_multirun_must_exist_and_unusual_parameters_are_compared(store: Store, tmp_path: Path) -> None:
    parent = Parent(str(tmp_path), "ours", {})
    for seed, value in enumerate(("1.0", "2.0", "nan", "-1", "1e400", "x", "1e-320")):
        write_run(store, 1.0 + seed, seed, {"clip.value": value, "optimizer.lr": value}, [2.0, 1.0], parent)
    backend = backend_of(store)
    odd = backend.create_run("no method", {keys.PARENT_RUN: backend.select_runs(None).parent or ""}, None, None)
    backend.write_parameters(odd, {"clip.value": "3"})
    backend.write_summary(odd, {MSE.final("test"): 1e308}, {keys.OUTCOME: "learned"}, 0)
    backend.end_run(odd, "FINISHED")
    for value in (*HOSTILE, "0" * 32):
        backend.create_run("hostile", {keys.PARENT_RUN: value}, None, None)
    found = compare(store, None, tmp_path / "out")
    assert len(found.selection.runs) == 8
