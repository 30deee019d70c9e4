"""A run on a table whose file has changed is neither skipped nor resumed."""

import hashlib
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from gradclip import keys
from tests.conftest import TIMEOUT, Command, SearchRuns, StartCommand, assert_one_error_line

LIGHT = ("trainer=debug", "clip=norm", "figures=false", "log_model=false", "data=table", "data.target=y")


def write_table(path: Path, noise: float) -> None:
    rows = np.arange(100.0)
    pd.DataFrame({"x": rows, "y": np.sin(rows) + noise}).to_csv(path, index=False)


def test_a_run_on_changed_data_is_trained_again(train: Command, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    again = (*LIGHT, f"data.path={table}", "-m", "seed=7100,7101", "skip_finished=true")
    write_table(table, noise=0.0)
    first, second = train(*again), train(*again)
    write_table(table, noise=1.0)
    third = train(*again)
    assert (first.returncode, second.returncode, third.returncode) == (0, 0, 0), first.stderr + third.stderr
    skipped = [
        sum(line.startswith("[") and "done before" in line for line in done.stdout.splitlines())
        for done in (first, second, third)
    ]
    assert skipped == [0, 2, 0]


def test_a_run_is_not_resumed_on_changed_data(
    train: Command, runs: SearchRuns, client: MlflowClient, tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    write_table(table, noise=0.0)
    assert train(*LIGHT, f"data.path={table}", "seed=7102").returncode == 0
    (run,) = runs("tags.seed = '7102'")
    client.set_terminated(run.info.run_id, "KILLED")
    write_table(table, noise=1.0)
    refused = train(f"resume={run.info.run_id}")
    assert_one_error_line(refused, f"resume: the table {table} has changed since the run began, or is a different")


@pytest.mark.parametrize(("seed", "launcher"), [(7103, ()), (7104, ("-m", "hydra/launcher=vectorized"))])
def test_a_table_removed_during_training_is_not_needed_any_more(
    start: StartCommand, runs: SearchRuns, tmp_path: Path, seed: int, launcher: tuple[str, ...]
) -> None:
    table = tmp_path / "table.csv"
    write_table(table, noise=0.0)
    digest = hashlib.sha256(table.read_bytes()).hexdigest()
    places = (f"hydra.run.dir={tmp_path}/run", f"hydra.sweep.dir={tmp_path}/multirun")
    settings = (*LIGHT, f"data.path={table}", "trainer.max_epochs=50", f"seed={seed}", *launcher, *places)
    with start("train", *settings) as process:
        while not list(tmp_path.glob("**/run.json")) and process.poll() is None:
            time.sleep(0.05)
        table.unlink()
        output, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, output + errors
    (run,) = runs(f"params.seed = '{seed}'")
    assert (run.info.status, run.data.tags[keys.DATA_DIGEST]) == ("FINISHED", digest)


def test_parallel_jobs_can_skip_finished_runs_in_a_store_that_does_not_exist_yet(
    train: Command, tmp_path: Path
) -> None:
    fresh = (f"tracking.uri=sqlite:///{tmp_path}/fresh/mlflow.db", f"tracking.artifacts={tmp_path}/fresh/artifacts")
    several = ("trainer=debug", "clip=norm", "figures=false", "log_model=false", "-m", "seed=0,1,2,3")
    done = train(*several, "skip_finished=true", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *fresh)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout
