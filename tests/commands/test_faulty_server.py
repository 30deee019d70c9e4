"""Runs tracked by a server that returns errors, loses responses, hangs or dies: they equal undisturbed runs."""

import re
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from gradclip import keys
from gradclip.tracking.records import SPOOL_FILE, RunEnd, Store
from gradclip.tracking.run import TrackedRun, complete_together
from gradclip.tracking.spool import REFUSED_FILE
from tests.conftest import Command, sync
from tests.support.faulty_server import faulty

FAULTS = ("pass", "pass", "error", "pass", "pass", "lose", "pass", "pass", "pass", "pass", "hang")
# Each fault comes twice, because MLflow itself retries once. Reads, at the end, have no other retry: no faults there.
TWICE = ("lose", "lose", "pass", "pass", "error", "error", "pass", "pass", "pass", "hang", "hang", "pass")
WHILE_WRITING = (*["pass"] * 4, *TWICE, *TWICE, *["pass"] * 500)
SHORT_TIMEOUT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0"}  # a hang lasts 2 s
RUN = ("trainer=debug", "clip=norm", "figures=false", "tracking=server")
STACKED = (*RUN, "-m", "hydra/launcher=vectorized", "seed=0,1")


@pytest.fixture(scope="module")
def undisturbed(train: Command, server: str) -> list[dict[str, Any]]:
    """Run a vectorized multirun without faults, and return its stored content."""
    done = train(*STACKED, f"tracking.uri={server}", "tracking.experiment=undisturbed")
    assert done.returncode == 0, done.stdout + done.stderr
    return everything(server, "undisturbed")


def everything(server: str, experiment: str) -> list[dict[str, Any]]:
    """Return the stored content of an experiment: the number of its models, and its runs, a parent run last."""
    client = MlflowClient(server)
    number = client.get_experiment_by_name(experiment).experiment_id
    runs = sorted(client.search_runs([number]), key=lambda run: run.data.params.get("seed", "parent"))
    models = {"models": len(client.search_logged_models([number]))}
    return [models, *(content(client, run) for run in runs)]


def content(client: MlflowClient, run: Run) -> dict[str, Any]:
    """Return the stored content of a run."""
    histories = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
    return {
        "status": run.info.status,
        "takes_time": (run.info.end_time or 0) > run.info.start_time,
        "outcome": run.data.tags.get(keys.OUTCOME),
        "is_child": keys.PARENT_RUN in run.data.tags,
        "points": {key: [(point.step, point.value) for point in history] for key, history in histories.items()},
        "parameters": {key: value for key, value in run.data.params.items() if not key.startswith("tracking.")},
        "files": sorted(entry.path for entry in client.list_artifacts(run.info.run_id)),
        "datasets": sorted(data.dataset.digest for data in run.inputs.dataset_inputs),
        "models": [client.get_logged_model(output.model_id).status for output in run.outputs.model_outputs],
    }


def test_errors_lost_responses_and_hangs_do_not_change_a_run(train: Command, server: str) -> None:
    assert train(*RUN, f"tracking.uri={server}", "tracking.experiment=whole").returncode == 0
    with faulty(server, *FAULTS) as address:
        settings = (f"tracking.uri={address}", "tracking.experiment=ours")
        done = train(*RUN, *settings, environment=SHORT_TIMEOUT)
    assert (done.returncode, "Unsent" in done.stdout) == (0, False), done.stderr
    assert everything(server, "ours") == everything(server, "whole")


def test_faults_do_not_change_a_vectorized_multirun(
    train: Command, server: str, undisturbed: list[dict[str, Any]]
) -> None:
    with faulty(server, *WHILE_WRITING) as address:
        settings = (f"tracking.uri={address}", "tracking.experiment=stacked")
        done = train(*STACKED, *settings, environment=SHORT_TIMEOUT)
    assert (done.returncode, "Unsent" in done.stdout) == (0, False), done.stdout + done.stderr
    assert everything(server, "stacked") == undisturbed


def test_a_run_is_created_once_if_the_response_is_lost(server: str, tmp_path: Path) -> None:
    with faulty(server, *["pass"] * 4, "lose", *["pass"] * 50) as address:
        run = TrackedRun(Store(address, "", "unanswered"), "mine", {}, tmp_path).begin()
        complete_together([(run, RunEnd({}, {}, {}, 9, 9))])
        run.wait()
    (_, run) = everything(server, "unanswered")
    assert run["status"] == "FINISHED"


def test_files_that_a_server_refuses_fail_neither_a_run_nor_a_comparison_and_are_kept(
    train: Command, compare: Command, server: str, tmp_path: Path
) -> None:
    with faulty(server, "full") as address:
        settings = (f"tracking.uri={address}", "tracking.experiment=large")
        trained = train(*RUN, *settings, f"hydra.run.dir={tmp_path}")
        compared = compare("runs=large", "figures=false", *settings)
    for done in trained, compared:
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stdout + done.stderr
        assert "413 Client Error" in done.stderr
    assert f"; the write is kept in {tmp_path / REFUSED_FILE}" in trained.stderr
    assert re.match(r"Train: \S+, Test: \S+\nOutcome: \w+\n", trained.stdout)  # what the user has waited for
    assert "norm=1.0: median" in compared.stdout
    _, run, comparison = everything(server, "large")
    assert (run["status"], run["files"], comparison["status"]) == ("FINISHED", [], "FAILED")
    (tmp_path / REFUSED_FILE).rename(tmp_path / SPOOL_FILE)
    with faulty(server, "pass", port=int(address.rpartition(":")[2])):
        sent = sync(tmp_path)
    assert sent.returncode == 0, sent.stderr
    _, run, _ = everything(server, "large")
    assert (run["files"], run["models"]) == (["config.yaml", "telemetry"], ["READY"])
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "run.json", "run.lock", "telemetry"}


def test_files_that_a_server_refuses_fail_no_run_of_a_vectorized_multirun(
    train: Command, server: str, undisturbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    with faulty(server, "full") as address:
        settings = (f"tracking.uri={address}", "tracking.experiment=too_large", f"hydra.sweep.dir={tmp_path}")
        done = train(*STACKED, *settings)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"Files: {tmp_path}\n" in done.stdout
    assert "Best median" in done.stdout or "norm=1.0: median" in done.stdout
    about_runs, about_comparison, about_parent = done.stderr.splitlines()
    assert re.match(rf"error: the store refused a part of 2 of 2 runs: .* is kept in {tmp_path}/\d/", about_runs)
    for line in about_comparison, about_parent:
        assert line.endswith(f"the write is kept in {tmp_path / REFUSED_FILE}")
    _, *runs = everything(server, "too_large")
    for run, expected in zip(runs, undisturbed[1:], strict=True):
        assert run == expected | {"files": [], "models": []}


def test_a_vectorized_multirun_is_sent_later_if_the_server_dies(
    train: Command, server: str, undisturbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    with faulty(server, *["pass"] * 16, "die") as address:  # before everything is written
        settings = (f"tracking.uri={address}", "tracking.experiment=dies", "tracking.retry_seconds=0.5")
        done = train(*STACKED, *settings, f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    writes = re.search(rf"did not accept (\d+) writes; they wait in {tmp_path}\. Send them: ", done.stdout)
    assert writes, done.stdout
    with faulty(server, "pass", port=int(address.rpartition(":")[2])):
        sent = sync(tmp_path)
    assert sum(map(int, re.findall(r"Sent (\d+) writes", sent.stdout))) == int(writes[1]), sent.stdout + sent.stderr
    *ours, parent = everything(server, "dies")
    assert ours == undisturbed[:-1]
    assert parent == undisturbed[-1] | {"files": ["runs.md"], "points": {}}  # unsent runs are not compared
