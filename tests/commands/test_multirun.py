"""A multirun survives jobs that fail or diverge, and its exit code says whether one failed."""

import pytest

from gradclip import keys
from tests.conftest import Command, SearchRuns


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_multirun_survives_failing_and_diverging_jobs(train: Command, runs: SearchRuns, launcher: str) -> None:
    seed = {"basic": 11, "joblib": 12}[launcher]
    done = train(
        "-m", f"hydra/launcher={launcher}", "clip=norm,none", "clip.value=1,-1", f"seed={seed}",
        "trainer.max_epochs=2", "figures=false", "log_model=false",
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: 1 of 4 jobs failed; the table says why"
    assert "clip.value: got -1; must be greater than 0" in done.stdout
    children = runs(f"params.seed = '{seed}'")
    assert sorted(run.data.tags[keys.OUTCOME] for run in children) == ["diverged", "diverged", "stalled"]
    (parent_id,) = {run.data.tags[keys.PARENT_RUN] for run in children}
    parent = next(run for run in runs() if run.info.run_id == parent_id)
    assert parent.info.status == "FAILED"
    assert parent.info.run_name.startswith("clip=norm,none clip.value=1,-1")


def test_a_successful_multirun_exits_with_zero(train: Command) -> None:
    done = train("-m", "clip=norm", "clip.value=1,2", "trainer=debug", "tracking=none", "figures=false")
    assert done.returncode == 0
    assert "norm=2.0 trainer=debug seed=0" in done.stdout
