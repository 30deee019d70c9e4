"""Runs that are stopped by real signals and resumed: they equal runs that were not stopped."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from gradclip import keys
from tests.conftest import TIMEOUT, Command, SearchRuns, StartCommand, Started, assert_one_error_line

LSTM = (
    *("data=temporal_order", "data.length=10", "data.steps_per_epoch=20"),
    *("data.validation_sequences=100", "data.test_sequences=100"),
    *("model=lstm", "model.hidden_size=8", "model.layers=2", "model.dropout=0.3", "optimizer=adam"),
    *("schedule=warmup_cosine", "clip=zscore", "trainer.max_epochs=10", "trainer.accumulate_grad_batches=2"),
)
MLP = ("clip=activation", "clip.value=0.01", "data.scale_target=standard", "trainer.max_epochs=150")
LIGHT = ("figures=false", "log_model=false", "trainer.progress_bar=false", "tracking.checkpoint_seconds=0.1")


def newest(runs: SearchRuns, seed: int) -> Run:
    return runs(f"params.seed = '{seed}'")[0]


def wait_for(condition: Callable[[], bool], process: Started) -> None:
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("the condition was not met in time")


def stop(start: StartCommand, folder: Path, number: int, *overrides: str) -> Started:
    """Start a run, and send a signal once it has written a checkpoint."""
    before = set(folder.glob("mlruns/hydra/runs/*/checkpoints/last.ckpt"))
    process = start("train", *overrides)
    wait_for(lambda: bool(set(folder.glob("mlruns/hydra/runs/*/checkpoints/last.ckpt")) - before), process)
    process.send_signal(number)
    return process


def curves(client: MlflowClient, run: Run) -> dict[str, list[tuple[int, float]]]:
    histories = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
    return {key: [(point.step, point.value) for point in history] for key, history in histories.items()}


def assert_same(client: MlflowClient, ours: Run, whole: Run) -> None:
    assert ours.info.status == whole.info.status == "FINISHED"
    theirs = curves(client, whole)
    for key, points in curves(client, ours).items():
        assert repr(points) == repr(theirs.pop(key)), key  # as text, because NaN does not equal itself
    assert not theirs
    tags = (keys.OUTCOME, keys.DIVERGED_STEP)
    assert [ours.data.tags.get(tag) for tag in tags] == [whole.data.tags.get(tag) for tag in tags]
    for file in (keys.TELEMETRY_FILE, keys.HIDDEN_STATES_FILE):
        if file in {found.path for found in client.list_artifacts(whole.info.run_id, keys.TELEMETRY_FOLDER)}:
            frames = [pd.read_parquet(client.download_artifacts(run.info.run_id, file)) for run in (ours, whole)]
            pd.testing.assert_frame_equal(*frames, check_exact=True)


@pytest.mark.parametrize(
    ("overrides", "number", "seed"),
    [(LSTM, signal.SIGKILL, 31), (MLP, signal.SIGTERM, 32)],
    ids=["killed", "terminated"],
)
def test_a_resumed_run_equals_a_run_that_was_not_stopped(
    train: Command, start: StartCommand, runs: SearchRuns, client: MlflowClient, store_folder: Path,
    overrides: tuple[str, ...], number: int, seed: int,
) -> None:  # fmt: skip
    settings = (*overrides, *LIGHT, f"seed={seed}")
    process = stop(start, store_folder, number, *settings)
    output, errors = process.communicate(timeout=TIMEOUT)
    stopped = newest(runs, seed)
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        resumed = train("resume=last")
    else:
        assert process.returncode == 128 + number, errors
        assert stopped.info.status == "KILLED"
        command = f"python src/train.py resume={stopped.info.run_id}"
        assert f". To resume: {command} tracking." in output
        resumed = train(f"resume={stopped.info.run_id}")
    assert resumed.returncode == 0, resumed.stderr
    assert train(*settings).returncode == 0
    whole, ours = runs(f"params.seed = '{seed}'")
    assert ours.info.run_id == stopped.info.run_id
    assert_same(client, ours, whole)
    assert not (Path(ours.data.tags[keys.FOLDER]) / "checkpoints").exists()


def test_ctrl_c_saves_points_figures_and_a_checkpoint(
    start: StartCommand, runs: SearchRuns, client: MlflowClient, store_folder: Path
) -> None:
    settings = (*MLP, "trainer.max_epochs=100000", "seed=33", "log_model=false", "tracking.checkpoint_seconds=0.5")
    process = stop(start, store_folder, signal.SIGINT, *settings)
    output, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    assert "Traceback" not in errors
    run = newest(runs, 33)
    assert output.startswith("Stopped by Ctrl-C after step ")
    step = int(output.split()[5].rstrip("."))
    assert run.info.status == "KILLED"
    assert [point for point, _ in curves(client, run)[keys.LOSS_STEP]] == list(range(1, step + 1))
    assert keys.FIGURES_FOLDER in {entry.path for entry in client.list_artifacts(run.info.run_id)}
    assert (Path(run.data.tags[keys.FOLDER]) / "checkpoints/last.ckpt").exists()


def test_a_run_that_cannot_be_resumed_is_reported_in_one_line(train: Command, runs: SearchRuns) -> None:
    train("trainer=debug", "seed=34", "figures=false", "log_model=false")
    run = newest(runs, 34)
    missing = "0123456789abcdef0123456789abcde0"
    cases = {
        ("resume=abc",): "resume: got 'abc'; must be the id of a run, 32 hexadecimal digits, or 'last'",
        (f"resume={missing}",): f"resume: got '{missing}'; there is no such run in ",
        (f"resume={run.info.run_id}",): f"resume: got '{run.info.run_id}'; that run is finished",
        ("resume=last", "seed=1"): "resume: got seed=1 too; a run keeps its settings, only tracking can be set",
        ("resume=last", "tracking=none"): "resume: got 'last'; without a store (tracking.uri) there is no run to",
    }
    for overrides, line in cases.items():
        done = train(*overrides)
        assert_one_error_line(done, line)


def test_a_stored_run_cannot_name_a_foreign_folder_or_program(
    train: Command, runs: SearchRuns, client: MlflowClient, tmp_path: Path
) -> None:
    train("trainer=debug", "seed=35", "figures=false", "log_model=false")
    run = newest(runs, 35)
    run_id, folder = run.info.run_id, run.data.tags[keys.FOLDER]
    client.set_terminated(run_id, "KILLED")
    (tmp_path / "run.json").write_text(json.dumps({"run_id": "another"}))
    client.set_tag(run_id, keys.FOLDER, str(tmp_path))
    done = train(f"resume={run_id}")
    where = "it can be resumed only where its files are, by the user who started it: "
    assert_one_error_line(done, f"resume: got '{run_id}'; {where}")
    client.set_tag(run_id, keys.FOLDER, folder)
    config = Path(client.download_artifacts(run_id, keys.CONFIG_FILE)).read_text()
    client.log_text(run_id, config.replace("gradclip.models.mlp.MLP", "os.system"), keys.CONFIG_FILE)
    done = train(f"resume={run_id}")
    assert_one_error_line(
        done, "tracking.trusted_models: the stored config names 'os.system'; only gradclip.models.*.*"
    )
    client.set_terminated(run_id, "FINISHED")  # so that resume=last does not find it
