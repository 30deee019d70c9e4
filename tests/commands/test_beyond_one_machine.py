"""Each launcher trains the same runs, under one parent run on one MLflow server."""

from importlib.util import find_spec
from pathlib import Path
from shutil import which

import pytest
from mlflow import MlflowClient

from gradclip import keys
from gradclip.program import install_command
from gradclip.scores import MSE
from tests.conftest import Command

JOBS = ("-m", "tracking=server", "trainer=debug", "clip=norm", "figures=false", "log_model=false")
LAUNCHERS = {
    "joblib": ("joblib", ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")),
    "vectorized": ("torch", ("hydra/launcher=vectorized",)),
    "vectorized_joblib": (
        "joblib",
        ("hydra/launcher=vectorized_joblib", "hydra.launcher.over.n_jobs=2", "hydra.launcher.chunk=1"),
    ),
    "ray_cluster": ("ray", ("hydra/launcher=ray_cluster", "hydra.launcher.cpus=2")),
    "ray": ("hydra_plugins.hydra_ray_launcher", ("hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2")),
    "slurm": ("submitit", ("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5")),
    "vectorized_ray": (
        "ray",
        ("hydra/launcher=vectorized_ray", "hydra.launcher.over.cpus=2", "hydra.launcher.chunk=1"),
    ),
    "vectorized_slurm": (
        "submitit",
        (
            "hydra/launcher=vectorized_slurm",
            "hydra/launcher@hydra.launcher.over=submitit_local",
            "hydra.launcher.chunk=1",
        ),
    ),
}


@pytest.fixture(scope="module")
def expected(train: Command, server: str) -> dict[str, float]:
    """Train the jobs one after the other, and return the final test score of each seed."""
    done = train(*JOBS, "seed=0,1", "tracking.experiment=expected", environment={"MLFLOW_TRACKING_URI": server})
    assert done.returncode == 0, done.stdout + done.stderr
    client = MlflowClient(server)
    runs = client.search_runs([client.get_experiment_by_name("expected").experiment_id], "params.seed != ''")
    return {run.data.params["seed"]: run.data.metrics[MSE.final("test")] for run in runs}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_launcher_trains_the_same_runs_under_one_parent(
    train: Command, server: str, expected: dict[str, float], launcher: str
) -> None:
    package, overrides = LAUNCHERS[launcher]
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed; docs/many-runs.md says how to install it")
    done = train(
        *JOBS, *overrides, "seed=0,1", f"tracking.experiment={launcher}",
        environment={"MLFLOW_TRACKING_URI": server},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 runs" in done.stdout
    client = MlflowClient(server)
    runs = client.search_runs([client.get_experiment_by_name(launcher).experiment_id])
    children = [run for run in runs if keys.PARENT_RUN in run.data.tags]
    (parent,) = [run for run in runs if run not in children]
    assert {run.data.tags[keys.PARENT_RUN] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    found = {run.data.params["seed"]: run.data.metrics[MSE.final("test")] for run in children}
    assert len(children) == 2
    assert found == pytest.approx(expected, rel=1e-3)  # float32 rounding depends on the number of threads
    for run in children:
        points = client.get_metric_history(run.info.run_id, keys.GRAD_NORM)
        assert [point.step for point in points] == list(range(1, 49))  # no point is missing or duplicated


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param(
            ["hydra/launcher=vectorized_ray"],
            f"hydra/launcher=ray_cluster: needs Ray; {install_command('ray')}",
            marks=pytest.mark.skipif(find_spec("ray") is not None, reason="ray is installed"),
        ),
        pytest.param(
            ["hydra/launcher=vectorized_slurm"],
            "hydra/launcher=submitit_slurm: needs Slurm; its command srun was not found",
            marks=pytest.mark.skipif(
                find_spec("submitit") is None or which("srun") is not None, reason="needs submitit without Slurm"
            ),
        ),
        pytest.param(
            ["hydra/launcher=ray_cluster", "hydra.launcher.address=127.0.0.1:1"],
            "hydra.launcher.address: got '127.0.0.1:1'; no Ray cluster answers there",
            marks=pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install '.[ray]'"),
        ),
    ],
)
def test_a_missing_cluster_is_reported_in_one_line_and_leaves_no_folder(
    train: Command, tmp_path: Path, overrides: list[str], message: str
) -> None:
    folder = tmp_path / "multirun"
    settings = ("tracking=none", "trainer=debug", "clip=norm", "seed=0,1")
    done = train("-m", *overrides, *settings, f"hydra.sweep.dir={folder}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"error: {message}"
    assert not folder.exists()
