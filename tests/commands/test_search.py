"""A real search survives divergence, drops bad trials and can be repeated; invalid settings write nothing."""

import re
import shlex

import pytest
from mlflow import MlflowClient

from gradclip import keys
from gradclip.sweep.search.report import read_report
from tests.conftest import Command, SearchRuns, assert_one_error_line

SHORT = ("trainer.max_epochs=4", "figures=false", "log_model=false")
SEARCH = ("-m", "hydra/sweeper=search")
REPORTS = "mlruns/hydra/multiruns/*/search/search.json"
RANGE = "clip.value=tag(log,interval(0.1,10))"


def test_a_real_search_survives_divergence_prunes_and_can_be_repeated(
    train: Command, runs: SearchRuns, client: MlflowClient, store_folder
) -> None:
    searched = set(store_folder.glob(REPORTS))
    sizes = [f"hydra.sweeper.{size}" for size in ("trials=5", "batch=4", "first_seeds=1", "reduction_factor=2")]
    done = train(*SEARCH, *sizes, "clip=none,norm", RANGE, "seed=171,172", *SHORT)
    assert done.returncode == 0, done.stderr
    (path,) = set(store_folder.glob(REPORTS)) - searched
    report = read_report(path.parents[1])
    states = [trial.state for trial in report.trials]
    assert {"finished", "dropped", "diverged"} == set(states)
    assert all(trial.state == "diverged" for trial in report.trials if trial.values["clip"] == "none")
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("diverged", "dropped", "finished"))
    assert f"5 settings: {counts}" in done.stdout

    children = [*runs("params.seed = '171'"), *runs("params.seed = '172'")]
    assert len(children) == sum(len(trial.jobs) for trial in report.trials) < 10
    (parent_id,) = {run.data.tags[keys.PARENT_RUN] for run in children}
    parent = client.get_run(parent_id)
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name.startswith(f"clip=none,norm {RANGE} seed=171,172")
    stored = {entry.path for entry in client.list_artifacts(parent_id)}
    assert {"runs.md", "search.md", "search.json", "figures"} <= stored
    assert [entry.path for entry in client.list_artifacts(parent_id, "figures")] == ["figures/search.png"]

    median, lowest, highest = re.search(
        r"Best: .*_test ([\d.]+) \(median of 2 seeds, ([\d.]+) to ([\d.]+)\)", done.stdout
    ).groups()
    (command,) = re.findall(r"^Repeat it:\n  (.*)$", done.stdout, flags=re.MULTILINE)
    again = train(*shlex.split(command)[2:])
    assert again.returncode == 0, again.stderr
    assert sorted(re.findall(r"Test: ([\d.]+)", again.stdout), key=float) == [lowest, highest]
    assert float(lowest) < float(median) < float(highest)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["clip=norm"], "hydra/sweeper=search: nothing to search; give a setting a range, such as"),
        (["clip=norm", "clip.value=interval(-1,1)"], "clip.value: got -1.0; must be greater than 0"),
        (["clip=nrm,norm"], "clip=nrm: no such option (did you mean 'norm'?)"),
        (["clip=norm", "hydra.sweeper.trials=0", RANGE], "hydra.sweeper.trials: got 0; must be greater than 0"),
        (["clip=norm", "hydra.sweeper.over_seeds=mode", RANGE], "hydra.sweeper.over_seeds: got 'mode'; must be"),
    ],
)
def test_bad_input_prints_one_line_and_nothing_is_written(
    train: Command, tmp_path, overrides: list[str], message: str
) -> None:
    done = train(*SEARCH, *overrides, environment={"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/none.db"})
    assert_one_error_line(done, message)
    assert not list(tmp_path.iterdir())


def test_a_grid_refuses_a_range(train: Command) -> None:
    done = train("-m", "clip=norm", "clip.value=interval(0.1,1)")
    assert done.returncode == 2
    assert done.stderr.startswith("error: interval(...): a grid needs separate values; list them, or search the range")
