"""The vectorized launcher, which gives the same runs as the basic launcher."""

import re
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from gradclip import keys
from tests.conftest import Command, SearchRuns

QUICK = ("trainer.max_epochs=2", "log_model=false", "figures=false")
OWN_TAGS = {keys.FOLDER, keys.HOST, keys.PROCESS, keys.LOCK, keys.PARENT_RUN, keys.COMMAND, keys.CREATION}


def by_name(runs: SearchRuns, parent: str) -> dict[str, Run]:
    return {run.info.run_name: run for run in runs() if run.data.tags.get(keys.PARENT_RUN) == parent}


def newest_parent(runs: SearchRuns) -> str:
    return next(run.data.tags[keys.PARENT_RUN] for run in runs() if keys.PARENT_RUN in run.data.tags)


@pytest.fixture(scope="module")
def both(train: Command, runs: SearchRuns) -> dict[str, dict[str, Run]]:
    """Train a multirun with both launchers: two groups of jobs, and jobs that cannot be stacked."""
    found = {}
    for launcher in ("basic", "vectorized"):
        done = train(
            "-m", f"hydra/launcher={launcher}", "clip=norm,none,activation", "clip.value=2", "seed=51,52", *QUICK
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found[launcher] = by_name(runs, newest_parent(runs))
        assert len(found[launcher]) == 6
    return found


def test_both_launchers_give_the_same_names_parameters_and_tags(both: dict[str, dict[str, Run]]) -> None:
    for name, ordinary in both["basic"].items():
        stacked = both["vectorized"][name]
        assert stacked.data.params == ordinary.data.params
        assert stacked.info.status == "FINISHED"
        assert _tags(stacked) == _tags(ordinary)
        assert {data.dataset.digest for data in stacked.inputs.dataset_inputs} == {
            data.dataset.digest for data in ordinary.inputs.dataset_inputs
        }


def test_both_launchers_give_the_same_metrics_and_files(both: dict[str, dict[str, Run]], client: MlflowClient) -> None:
    for name, ordinary in both["basic"].items():
        stacked = both["vectorized"][name]
        assert stacked.data.metrics.keys() == ordinary.data.metrics.keys()
        if "diverged" not in ordinary.data.tags[keys.OUTCOME]:
            for metric in ("final/mse_train", "final/mse_test", "best/epoch", "grad/norm_max", "loss/step"):
                assert stacked.data.metrics[metric] == pytest.approx(ordinary.data.metrics[metric], rel=1e-3)
        files, expected = (_files(client, run) for run in (stacked, ordinary))
        assert files == expected
        assert "telemetry/gradients.parquet" in files


def test_a_job_that_cannot_be_stacked_runs_separately_and_the_reason_is_printed(train: Command) -> None:
    done = train(
        "-m", "hydra/launcher=vectorized", "clip=activation", "clip.value=10,20", "seed=53", "tracking=none", *QUICK
    )
    assert done.returncode == 0
    assert "Jobs 0, 1 run separately: clip=activation acts on each layer during backward" in done.stderr
    assert "[0] activation=10.0" in done.stdout
    assert done.stdout.count("2 groups: 1 seed per group cannot show a difference") == 1
    assert "Stacked runs differ" not in done.stdout


def test_a_network_that_vmap_refuses_runs_separately(train: Command, store_folder: Path) -> None:
    (store_folder / "branching_network.py").write_text(
        "import torch\n"
        "class Branching(torch.nn.Linear):\n"
        "    def forward(self, inputs):\n"
        "        outputs = super().forward(inputs)\n"
        "        return outputs if outputs.sum() > 0 else -outputs\n"
    )
    done = train(
        "-m", "hydra/launcher=vectorized", "model._target_=branching_network.Branching", "seed=0,1",
        "tracking=none", *QUICK, environment={"PYTHONPATH": str(store_folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Jobs 0, 1 run separately: the network cannot be stacked: " in done.stderr
    assert done.stdout.count("seed=1: ") == 1


def test_only_the_best_and_the_worst_run_have_figures_and_a_model(
    train: Command, runs: SearchRuns, client: MlflowClient
) -> None:
    done = train(
        "-m", "hydra/launcher=vectorized", "clip=norm", "clip.value=0.01,1,5", "seed=54", "trainer.max_epochs=10"
    )
    assert done.returncode == 0, done.stderr
    found = by_name(runs, newest_parent(runs))
    scores = {name: run.data.metrics["final/mse_test"] for name, run in found.items()}
    drawn = {name for name, run in found.items() if any(path.startswith("figures/") for path in _files(client, run))}
    assert drawn == {min(scores, key=scores.__getitem__), max(scores, key=scores.__getitem__)}
    assert {name for name, run in found.items() if run.outputs.model_outputs} == drawn
    assert all(run.info.status == "FINISHED" for run in found.values())
    ends = {run.info.end_time for run in found.values()}
    assert len(ends) == 1  # the runs ended together, although writing took different times


def test_invalid_jobs_are_reported_and_the_others_run(train: Command, runs: SearchRuns) -> None:
    done = train("-m", "hydra/launcher=vectorized", "clip=norm", "clip.value=1,-1", "seed=55", *QUICK)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: 1 of 2 jobs failed; the table says why"
    line = (
        "[1] clip=norm clip.value=-1 seed=55 trainer.max_epochs=2: failed: clip.value: got -1; must be greater than 0"
    )
    assert line in done.stdout  # without settings that have no effect on training
    assert "Stacked runs differ" in done.stdout
    assert len(runs("params.seed = '55'")) == 1


def test_a_job_whose_folder_cannot_be_written_fails_alone(train: Command, tmp_path: Path) -> None:
    (tmp_path / "0").symlink_to("/sys")  # refuses files even of root
    launcher = ("-m", "hydra/launcher=vectorized", f"hydra.sweep.dir={tmp_path}")
    done = train(*launcher, "seed=0,1,2", "trainer=debug", "clip=norm", "figures=false")
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(rf"\[0\] .*: failed: {tmp_path}/0/\S+: cannot be written: ", done.stdout), done.stdout
    assert f"error: {tmp_path}/0/result.json: cannot be written: " in done.stderr
    assert "error: 1 of 3 jobs failed; the table says why" in done.stderr


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("clip.valu=1,2",), "clip.valu: no such setting or group (did you mean 'clip.value'?)"),
        (("clip=nrm,norm",), "clip=nrm: no such option (did you mean 'norm'?)"),
        (("hydra.launcher.points=0",), "hydra.launcher.points: got 0; must be 1 or more"),
        (("hydra.launcher.replicas=true",), "hydra.launcher.replicas: got True; must be 1 or more"),
        (("hydra.launcher.keep=best",), "hydra.launcher.keep: got 'best'; choose from extremes, all"),
        (
            ("hydra/launcher=vectorized_joblib", "hydra.launcher.within.keep=best"),
            "hydra.launcher.within.keep: got 'best'; choose from extremes, all",
        ),
    ],
)
def test_invalid_overrides_are_reported_in_one_line(train: Command, overrides: tuple[str, ...], message: str) -> None:
    done = train("-m", "hydra/launcher=vectorized", *overrides)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[-1]


def _tags(run: Run) -> dict[str, str]:
    return {tag: value for tag, value in run.data.tags.items() if tag not in OWN_TAGS and "mlflow" not in tag}


def _files(client: MlflowClient, run: Run, path: str | None = None) -> set[str]:
    found = client.list_artifacts(run.info.run_id, path)
    inner = [_files(client, run, info.path) if info.is_dir else {info.path} for info in found]
    return set().union(*inner)
