"""A table in a file that has changed since is not the same data: nothing of it is skipped or resumed."""

from pathlib import Path

import numpy as np
import pandas as pd
from mlflow import MlflowClient

from tests.conftest import Command, SearchRuns, assert_told_in_one_line

LIGHT = ("trainer=debug", "clip=norm", "figures=false", "log_model=false", "data=table", "data.target=y")


def write_table(path: Path, noise: float) -> None:
    rows = np.arange(100.0)
    pd.DataFrame({"x": rows, "y": np.sin(rows) + noise}).to_csv(path, index=False)


def test_what_was_trained_on_other_content_is_trained_again(train: Command, tmp_path: Path) -> None:
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


def test_a_run_is_not_resumed_on_other_content(
    train: Command, runs: SearchRuns, client: MlflowClient, tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    write_table(table, noise=0.0)
    assert train(*LIGHT, f"data.path={table}", "seed=7102").returncode == 0
    (run,) = runs("tags.seed = '7102'")
    client.set_terminated(run.info.run_id, "KILLED")
    write_table(table, noise=1.0)
    refused = train(f"resume={run.info.run_id}")
    assert_told_in_one_line(refused, f"resume: the table {table} has changed since the run began, or is a different")


def test_jobs_side_by_side_skip_what_is_finished_in_a_store_that_is_not_there_yet(
    train: Command, tmp_path: Path
) -> None:
    fresh = (f"tracking.uri=sqlite:///{tmp_path}/fresh/mlflow.db", f"tracking.artifacts={tmp_path}/fresh/artifacts")
    several = ("trainer=debug", "clip=norm", "figures=false", "log_model=false", "-m", "seed=0,1,2,3")
    done = train(*several, "skip_finished=true", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *fresh)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout
