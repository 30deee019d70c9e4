"""``compare``, and the end of a multirun, compare runs by filter, parent or ids and store the comparison."""

import re
import subprocess
from pathlib import Path

import pytest
from mlflow import MlflowClient

from gradclip import keys
from tests.conftest import Command, SearchRuns, assert_one_error_line, folders

SHORT = ("trainer.max_epochs=3", "log_model=false")


@pytest.fixture(scope="module")
def multirun(train: Command) -> "subprocess.CompletedProcess[str]":
    return train("-m", "clip=none,norm", "clip.value=1,10", "seed=70,71", *SHORT)


def parent_of(runs: SearchRuns) -> str:
    return str(runs("params.seed = '70'")[0].data.tags[keys.PARENT_RUN])


def test_a_multirun_ends_with_a_comparison(
    multirun: "subprocess.CompletedProcess[str]", client: MlflowClient, runs: SearchRuns
) -> None:
    assert multirun.returncode == 0, multirun.stderr
    assert "final/mse_test of 6 runs" in multirun.stdout
    assert "Best median: norm=10.0" in multirun.stdout
    assert "Ignored older runs with the settings and seed of a newer run: 2." in multirun.stdout
    stored = {entry.path for entry in client.list_artifacts(parent_of(runs), "comparison")}
    assert {f"comparison/{name}" for name in ("comparison.md", "groups.csv", "pairs.csv", "figures")} <= stored
    figures = {entry.path for entry in client.list_artifacts(parent_of(runs), "comparison/figures")}
    assert "comparison/figures/threshold.png" in figures


@pytest.mark.usefixtures("multirun")
def test_the_command_compares_the_runs_of_a_filter_and_stores_the_comparison_as_a_run(
    compare: Command, client: MlflowClient
) -> None:
    done = compare("runs=tags.clip LIKE 'norm=1%' AND tags.seed LIKE '7_'", "target=1e5", "figures=false")
    assert done.returncode == 0, done.stderr
    assert "final/mse_test of 4 runs" in done.stdout
    run_id = re.search(r"Stored with run (\w+)", done.stdout)
    assert run_id is not None
    assert "comparison/groups.csv" in {entry.path for entry in client.list_artifacts(run_id[1], "comparison")}
    assert client.get_run(run_id[1]).info.status == "FINISHED"


@pytest.mark.usefixtures("multirun")
def test_a_parent_and_a_list_of_runs_can_be_compared(compare: Command, runs: SearchRuns) -> None:
    ids = ",".join(run.info.run_id for run in runs("tags.clip = 'norm=10.0' and tags.seed LIKE '7_'"))
    done = compare(f"runs=[{ids}]", "figures=false", "metric=final/mse_train")
    assert done.returncode == 0, done.stderr
    assert "final/mse_train of 2 runs on regression: a list" in done.stdout
    assert "there is no other group to compare it with" in done.stdout
    done = compare(f"runs={parent_of(runs)}", "figures=false", "by=[clip.name]")
    by = "'by=[clip.name,clip.value]'"
    assert f"Some groups mix runs that differ in more than the seed. To separate them: {by}\n" in done.stdout


BAD = [
    (["by=clip.value"], "by: got 'clip.value'; must be a list: by=[clip.value]"),
    (["by=clip.name,clip.value"], "by=clip.name,clip.value: a list needs brackets: by=[clip.name,clip.value]"),
    (["metrik=x"], "metrik: no such setting or group (did you mean 'metric'?)"),
    (["clip=norm"], "clip: no such setting or group"),
    (["target=abc"], "target: got 'abc'; must be a valid number"),
    (["by=[]", "runs=[]", "figures=7"], "figures: got 7; must be a valid boolean"),
    (["runs=tags.seed IN ('1')"], "runs: got \"tags.seed IN ('1')\"; Expected a quoted string value for tag"),
    (["split=tst"], "split: got 'tst'; must be 'train', 'validation' or 'test'"),
    (["figure_format=gif"], "figure_format: got 'gif'; must be 'png', 'pdf' or 'svg'"),
    (["tracking=none"], "tracking.uri: got None; must be a valid string"),
    (["tracking.uri=sqlite:////no/such/mlflow.db"], "tracking.uri: got 'sqlite:////no/such/mlflow.db'; there is no"),
]


@pytest.mark.usefixtures("multirun")  # the store must exist
@pytest.mark.parametrize(("overrides", "message"), BAD, ids=[" ".join(overrides) for overrides, _ in BAD])
def test_a_mistake_is_reported_in_one_line(
    compare: Command, store_folder: Path, overrides: list[str], message: str
) -> None:
    before = folders(store_folder)
    assert_one_error_line(compare(*overrides), message)
    assert folders(store_folder) == before
