"""The next command closes abandoned runs and deletes only empty duplicates, in a real store."""

import os
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from mlflow import MlflowClient

from gradclip import keys
from gradclip.tracking.backend.operations import Backend
from gradclip.tracking.owner import RUN_LOCK, hold, owner_tags
from gradclip.tracking.run import TrackedRun
from tests.support.stores import make_store


def test_only_empty_duplicates_of_ended_runs_are_deleted(tmp_path: Path) -> None:
    store, alive = make_store(tmp_path), owner_tags(tmp_path / RUN_LOCK)
    backend = Backend(store)
    gone = alive | {keys.PROCESS: alive[keys.PROCESS].replace(str(os.getpid()), "999999999", 1), keys.LOCK: ""}
    assert hold(tmp_path / RUN_LOCK)

    def create(tags: dict[str, str], creation: str, status: str = "RUNNING", empty: bool = False) -> str:
        run = backend.client.create_run(
            backend.experiment_id, tags=tags | {keys.CREATION: uuid5(NAMESPACE_URL, creation).hex}
        )
        if not empty:
            backend.write_parameters(run.info.run_id, {"seed": "0"})
        backend.client.update_run(run.info.run_id, status)
        return str(run.info.run_id)

    stay = {
        create(alive, "ended", "FINISHED"): "FINISHED",
        create(gone, "killed"): "KILLED",
        create(gone, "a multirun", "FINISHED", empty=True): "FINISHED",
        create(gone, "killed at once", empty=True): "KILLED",
        create(alive, "just begun", empty=True): "RUNNING",
        create(alive, "just begun", empty=True): "RUNNING",
        create(alive, "resumed twice", "FINISHED"): "FINISHED",
        create(alive, "resumed twice"): "RUNNING",
    }
    for tags, creation in ((alive, "ended"), (gone, "killed"), (gone, "a multirun")):
        create(tags, creation, empty=True)
    new = TrackedRun(store, "the next", {}, tmp_path / "run").begin()
    new_id = new.run_id
    runs = MlflowClient(store.uri).search_runs([backend.experiment_id])
    assert {run.info.run_id: run.info.status for run in runs} == stay | {new_id: "RUNNING"}


def test_a_run_that_has_content_is_not_deleted_for_having_the_creation_tag_of_another(tmp_path: Path) -> None:
    backend = Backend(make_store(tmp_path))
    tags, experiment_id = {keys.CREATION: uuid5(NAMESPACE_URL, "one").hex}, backend.experiment_id
    ours, other, empty = (backend.client.create_run(experiment_id, tags=tags).info.run_id for _ in range(3))
    backend.write_parameters(other, {"seed": "0"})
    backend.is_server = True  # only a server loses answers, so that runs are created twice
    backend.end_run(ours, "FINISHED")
    assert {run.info.run_id for run in backend.client.search_runs([experiment_id])} == {ours, other}
    assert backend.client.get_run(empty).info.lifecycle_stage == "deleted"
