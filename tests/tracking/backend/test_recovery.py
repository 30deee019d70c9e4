"""What the next command makes of runs that nobody will end, in a real store."""

from pathlib import Path

from mlflow import MlflowClient

from gradclip import keys
from gradclip.tracking.backend.connection import client, open_store
from gradclip.tracking.backend.writes import write_parameters
from gradclip.tracking.owner import owner_tags
from gradclip.tracking.run import TrackedRun
from tests.support.stores import make_store


def test_twins_that_a_server_created_after_the_end_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    store, alive = make_store(tmp_path), owner_tags()
    gone = alive | {keys.PROCESS: "999999999 since 1.00"}

    def create(tags: dict[str, str], creation: str, status: str = "RUNNING", empty: bool = False) -> str:
        run = client(store.uri).create_run(open_store(store), tags=tags | {keys.CREATION: creation})
        if not empty:
            write_parameters(store, run.info.run_id, {"seed": "0"})
        client(store.uri).update_run(run.info.run_id, status)
        return str(run.info.run_id)

    stay = {
        create(alive, "ended", "FINISHED"): "FINISHED",
        create(gone, "killed"): "KILLED",
        create(gone, "a multirun", "FINISHED", empty=True): "FINISHED",
        create(gone, "killed at once", empty=True): "KILLED",
        create(alive, "just begun", empty=True): "RUNNING",
        create(alive, "just begun", empty=True): "RUNNING",
        create(alive, "taken up twice", "FINISHED"): "FINISHED",
        create(alive, "taken up twice"): "RUNNING",
    }
    for tags, creation in ((alive, "ended"), (gone, "killed"), (gone, "a multirun")):
        create(tags, creation, empty=True)
    new = TrackedRun(store, "the next", {}, tmp_path / "run")
    runs = MlflowClient(store.uri).search_runs([open_store(store)])
    assert {run.info.run_id: run.info.status for run in runs} == stay | {new.run_id: "RUNNING"}
