"""A stopped multirun is closed, and the same command trains only the missing jobs."""

import re
import signal

import pytest
from mlflow import MlflowClient

from gradclip import keys
from tests.commands.test_resume import wait_for
from tests.conftest import TIMEOUT, Command, SearchRuns, StartCommand

LIGHT = ("figures=false", "log_model=false", "trainer.progress_bar=false")


@pytest.mark.parametrize(("launcher", "seed"), [("basic", 61), ("joblib", 64), ("vectorized", 69)])
def test_a_stopped_multirun_is_closed_and_continues_with_the_missing_jobs(
    train: Command, start: StartCommand, runs: SearchRuns, launcher: str, seed: int
) -> None:
    jobs = ("-m", "clip=norm", f"seed={seed}", "trainer.max_epochs=2,20000,3", *LIGHT)
    process = start("train", *jobs, f"hydra/launcher={launcher}")
    wait_for(lambda: any(run.info.status == "FINISHED" for run in runs(f"params.seed = '{seed}'")), process)
    long = f"params.seed = '{seed}' and params.`trainer.max_epochs` = '20000'"
    under_way = launcher == "vectorized"  # this launcher writes points only at the end
    wait_for(lambda: any(under_way or keys.GRAD_NORM in run.data.metrics for run in runs(long)), process)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert re.search(r"stopped by Ctrl-C after\s+step\s+\d+|stopped by Ctrl-C after step \d+", output)
    assert re.search(
        r"Stopped: [12] of 3 jobs are done\. To continue, repeat the command with skip_finished=true", output
    )
    found = runs(f"params.seed = '{seed}'")
    assert {run.info.status for run in found} == {"FINISHED", "KILLED"}
    (parent,) = {run.data.tags[keys.PARENT_RUN] for run in found}
    assert next(run for run in runs() if run.info.run_id == parent).info.status == "KILLED"
    shorter = ("-m", "clip=norm", f"seed={seed}", "trainer.max_epochs=2,4", *LIGHT, "skip_finished=true")
    done = train(*shorter, f"hydra/launcher={launcher}")
    assert done.returncode == 0, done.stderr
    assert "(done before)" in done.stdout
    assert len(runs(f"params.seed = '{seed}' and params.`trainer.max_epochs` = '2'")) == 1


def test_a_run_left_open_by_a_dead_process_is_closed(
    train: Command, start: StartCommand, runs: SearchRuns, client: MlflowClient
) -> None:
    process = start("train", "clip=norm", "seed=67", "trainer.max_epochs=20000", *LIGHT)
    wait_for(lambda: bool(runs("params.seed = '67'")), process)
    process.kill()
    process.communicate()
    (run,) = runs("params.seed = '67'")
    assert run.info.status == "RUNNING"
    assert train("trainer=debug", "clip=norm", "seed=68", *LIGHT).returncode == 0
    assert client.get_run(run.info.run_id).info.status == "KILLED"
