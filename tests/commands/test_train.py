"""``train`` stores every setting, step, figure and model of a run, and the same seed repeats the numbers."""

import json
import math
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from sklearn.datasets import make_regression

from gradclip import __version__, keys
from gradclip.scores import MSE
from gradclip.tracking.records import model_name
from tests.conftest import ROOT, Command, SearchRuns


@pytest.fixture(scope="module")
def norm_run(train: Command) -> subprocess.CompletedProcess[str]:
    return train("clip=norm", "clip.value=1.0", "trainer.max_epochs=12")


@pytest.fixture(scope="module")
def tracked(norm_run: subprocess.CompletedProcess[str], client: MlflowClient) -> Run:
    found = re.search(r"\(([0-9a-f]{32})\)", norm_run.stdout)
    assert found, norm_run.stdout + norm_run.stderr
    return client.get_run(found.group(1))


@pytest.fixture(scope="module")
def diverged(train: Command, client: MlflowClient) -> tuple[subprocess.CompletedProcess[str], Run]:
    done = train("+experiment=explosion")
    found = re.search(r"\(([0-9a-f]{32})\)", done.stdout)
    assert found, done.stdout + done.stderr
    return done, client.get_run(found.group(1))


def test_output_has_scores_outcome_clipping_name_folder_and_ui(
    norm_run: subprocess.CompletedProcess[str],
) -> None:
    assert norm_run.returncode == 0
    lines = norm_run.stdout.splitlines()
    assert re.fullmatch(r"Train: \d+\.\d\d, Test: \d+\.\d\d", lines[0])
    assert lines[1] == "Outcome: learned"
    assert lines[2].startswith("Clipping: norm=1.0 changed 100% of 192 steps; gradient norm before clipping: median ")
    assert re.fullmatch(r"Score: test MSE \d+\.\d\d, RMSE \d+\.\d\d, R² 0\.\d+", lines[3])
    assert lines[4].startswith("Run: norm=1.0 max_epochs=12 seed=0 (")
    assert Path(lines[5].removeprefix("Figures: ")).is_dir()
    assert lines[6].startswith("See it: mlflow ui --backend-store-uri sqlite:///")
    assert re.match(r"http://127\.0\.0\.1:5000/#/experiments/\d+/runs\?", lines[7].strip())
    assert norm_run.stderr == ""  # no progress bar without a terminal


def test_every_setting_is_a_parameter(tracked: Run) -> None:
    parameters = tracked.data.params
    assert parameters["clip.name"] == "norm"
    assert parameters["clip.value"] == "1.0"
    assert parameters["optimizer.momentum"] == "0.9"
    assert parameters["model._target_"] == "gradclip.models.mlp.MLP"
    assert parameters["model.widths"] == "[25]"
    assert parameters["seed"] == "0"


def test_name_and_tags_describe_the_run(tracked: Run) -> None:
    tags = tracked.data.tags
    assert tracked.info.run_name == "norm=1.0 max_epochs=12 seed=0"
    assert tracked.info.status == "FINISHED"
    assert tags[keys.OUTCOME] == "learned"
    assert tags[keys.COMMAND].startswith("python src/train.py ")
    assert "clip=norm clip.value=1.0" in tags[keys.COMMAND]
    assert tags[keys.HOST]
    assert tags[keys.LOSS_REDUCTION] == "mean"
    assert tags["mlflow.source.name"].endswith("src/train.py")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert tags.get("mlflow.source.git.commit", "") == commit.stdout.strip()
    assert tags[keys.VERSION] == __version__


def test_every_step_and_epoch_is_in_the_store(tracked: Run, client: MlflowClient) -> None:
    run_id = tracked.info.run_id
    for key in (keys.LOSS_STEP, keys.GRAD_NORM, keys.GRAD_NORM_CLIPPED, keys.GRAD_MAX_ABS, keys.GRAD_COEFFICIENT):
        assert sorted(point.step for point in client.get_metric_history(run_id, key)) == list(range(1, 193))
    for key in (MSE.by_epoch("train"), MSE.by_epoch("test")):
        assert sorted(point.step for point in client.get_metric_history(run_id, key)) == list(range(1, 13))
    clipped = [point.value for point in client.get_metric_history(run_id, keys.GRAD_NORM_CLIPPED)]
    np.testing.assert_allclose(clipped, 1.0, rtol=1e-5)
    assert 0 < len(client.get_metric_history(run_id, keys.GRAD_NORM_PEAK)) <= 320


def test_the_summary_agrees_with_the_curves_and_the_telemetry_file(tracked: Run, client: MlflowClient) -> None:
    metrics, run_id = tracked.data.metrics, tracked.info.run_id
    curve = {point.step: point.value for point in client.get_metric_history(run_id, MSE.by_epoch("test"))}
    assert metrics[MSE.final("test")] == curve[12]
    assert metrics[MSE.best("test")] == min(curve.values()) == curve[int(metrics[keys.BEST_EPOCH])]
    frame = pd.read_parquet(client.download_artifacts(run_id, keys.TELEMETRY_FILE))
    assert metrics[keys.GRAD_NORM_P90] == pytest.approx(np.percentile(frame[keys.GRAD_NORM], 90))
    layers = frame[[name for name in frame if name.startswith(f"{keys.GRAD_NORM}/")]]
    np.testing.assert_allclose(np.sqrt((layers**2).sum(axis=1)), frame[keys.GRAD_NORM], rtol=1e-6)


def test_config_figures_and_datasets_are_stored(tracked: Run, client: MlflowClient) -> None:
    names = {entry.path for entry in client.list_artifacts(tracked.info.run_id)}
    assert {keys.CONFIG_FILE, keys.FIGURES_FOLDER, "telemetry"} <= names
    figures = {entry.path for entry in client.list_artifacts(tracked.info.run_id, keys.FIGURES_FOLDER)}
    assert figures == {
        f"figures/{name}.png"
        for name in (
            *("target", "learning_curve", "update_ratio", "predictions", "clipping_coefficient"),
            *("gradient_norm", "gradient_norm_histogram", "gradient_norm_by_parameter"),
        )
    }
    datasets = {data.tags[0].value: data.dataset for data in tracked.inputs.dataset_inputs}
    assert set(datasets) == {"training", "testing"}
    assert '"num_rows": 500' in datasets["training"].profile


def test_the_stored_model_predicts_raw_rows_in_a_new_process(tracked: Run, store_uri: str, store_folder: Path) -> None:
    model = f"runs:/{tracked.info.run_id}/{model_name(tracked.info.run_name)}"
    script = f"""
        import mlflow, pandas as pd
        from sklearn.datasets import make_regression
        mlflow.set_tracking_uri("{store_uri}")
        inputs, target = make_regression(1000, 20, noise=0.1, random_state=1)
        rows = pd.DataFrame(inputs[500:], columns=[f"x{{column}}" for column in range(20)])
        network = mlflow.pytorch.load_model("{model}")
        assert not network.training and sum(one.numel() for one in network.parameters()) == 551
        predicted = mlflow.pyfunc.load_model("{model}").predict(rows)
        print(((predicted["y"].to_numpy() - target[500:]) ** 2).mean())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=store_folder, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == pytest.approx(tracked.data.metrics[MSE.final("test")], rel=1e-4)


def test_an_explosion_is_a_result(diverged: tuple[subprocess.CompletedProcess[str], Run], client: MlflowClient) -> None:
    done, run = diverged
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "Train: nan, Test: nan"
    assert re.search(
        r"Outcome: diverged at step \d+ \(epoch 1\), first in the (loss|gradient .*|weight .*); ", done.stdout
    )
    assert run.info.status == "FINISHED"
    tags, metrics = run.data.tags, run.data.metrics
    assert tags[keys.OUTCOME] == "diverged"
    assert math.isnan(metrics[MSE.final("test")])
    norms = client.get_metric_history(run.info.run_id, keys.GRAD_NORM)
    assert all(math.isfinite(point.value) and point.value < 1e308 for point in norms)
    assert max(point.step for point in norms) < int(tags[keys.DIVERGED_STEP]) + 1
    assert keys.FIGURES_FOLDER in {entry.path for entry in client.list_artifacts(run.info.run_id)}


def test_the_explosion_report_is_printed_and_stored(
    diverged: tuple[subprocess.CompletedProcess[str], Run], client: MlflowClient
) -> None:
    done, run = diverged
    printed = done.stdout.partition("\n\n")[2]
    assert printed.startswith(f"First non-finite value at step {run.data.tags[keys.DIVERGED_STEP]} (epoch 1), in the ")
    assert "data.scale_target=standard" in printed
    text = Path(client.download_artifacts(run.info.run_id, keys.EXPLOSION_TEXT)).read_text()
    assert text == printed
    report = json.loads(Path(client.download_artifacts(run.info.run_id, keys.EXPLOSION_JSON)).read_text())
    assert len(report["rows"]) == 32
    assert report["divergence"]["step"] == int(run.data.tags[keys.DIVERGED_STEP])
    _, target = make_regression(1000, 20, noise=0.1, random_state=1)
    assert report["target_max_abs"] == pytest.approx(max(abs(target[report["rows"]])), rel=1e-6)


@pytest.mark.parametrize("remedy", ["data.scale_target=standard", "optimizer.lr=0.001", "loss=huber"])
def test_the_suggested_remedies_help(train: Command, diverged: tuple[Any, Run], remedy: str) -> None:
    assert remedy in diverged[0].stdout
    done = train(remedy, "trainer.max_epochs=5", "tracking=none", "figures=false")
    assert "Outcome: learned" in done.stdout


def test_training_ends_soon_after_it_diverged(
    diverged: tuple[subprocess.CompletedProcess[str], Run], train: Command
) -> None:
    _, run = diverged
    frame_steps = int(re.search(r"ended after step (\d+)", diverged[0].stdout).group(1))  # type: ignore[union-attr]
    assert 10 <= frame_steps - int(run.data.tags[keys.DIVERGED_STEP]) <= 30
    whole = train("trainer.steps_after_divergence=null", "trainer.max_epochs=4", "tracking=none", "figures=false")
    assert "training ended after step 64" in whole.stdout


def test_the_same_seed_gives_identical_metrics(train: Command, runs: SearchRuns, client: MlflowClient) -> None:
    for _ in range(2):
        assert train("trainer=debug", "clip=norm", "seed=9", "figures=false", "log_model=false").returncode == 0
    first, second = runs("params.seed = '9'")
    assert first.data.metrics == second.data.metrics
    for key in (keys.LOSS_STEP, keys.GRAD_NORM):
        one, other = (client.get_metric_history(run.info.run_id, key) for run in (first, second))
        assert [point.value for point in one] == [point.value for point in other]


def test_a_table_with_categories_and_a_scaled_target_can_be_predicted(
    train: Command, tmp_path: Path, store_uri: str, runs: SearchRuns
) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"size": random.integers(20, 200, 200), "city": random.choice(["Bern", "Zug"], 200)})
    frame["price"] = frame["size"] * 3.0 + (frame["city"] == "Zug") * 120
    frame.to_csv(tmp_path / "homes.csv", index=False)
    done = train(
        "data=table", f"data.path={tmp_path}/homes.csv", "data.target=price", "data.categorical=[city]",
        "data.scale_target=standard", "trainer.max_epochs=20", "figures=false",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = runs("params.`data.name` = 'table'")[0]
    model = f"runs:/{run.info.run_id}/{model_name(run.info.run_name)}"
    script = f"""
        import mlflow, pandas as pd
        mlflow.set_tracking_uri("{store_uri}")
        rows = pd.DataFrame({{"size": [100.0, 100.0], "city": ["Bern", "Zug"]}})
        bern, zug = mlflow.pyfunc.load_model("{model}").predict(rows)["price"]
        print(bern, zug)
    """
    loaded = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    bern, zug = map(float, loaded.stdout.split())
    assert bern == pytest.approx(300, abs=40)
    assert zug == pytest.approx(420, abs=40)


@pytest.mark.parametrize(
    ("clip", "seed"),
    [
        ("clip=norm", 5),
        ("clip=activation clip.value=0.001 data.scale_target=standard", 6),
        ("clip=zscore clip.value=0.5 clip.warmup=3 data.scale_target=standard", 7),
        ("clip=skip clip.value=5.2 data.scale_target=standard", 8),
    ],
)
def test_two_processes_give_the_result_of_one(
    train: Command, runs: SearchRuns, client: MlflowClient, clip: str, seed: int
) -> None:
    options = ("trainer.max_epochs=2", *clip.split(), f"seed={seed}", "figures=false", "log_model=false")
    alone, together = train(*options), train("trainer=ddp", *options)
    assert together.returncode == 0, together.stderr
    found = runs(f"params.seed = '{seed}'")
    assert len(found) == 2  # the second process tracked nothing
    ours, theirs = (run.data.metrics for run in found)
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert together.stdout.count("Train: ") == alone.stdout.count("Train: ") == 1
    one, two = (client.get_metric_history(run.info.run_id, keys.GRAD_NORM) for run in found)
    assert [point.step for point in one] == [point.step for point in two] == list(range(1, 33))  # no duplicates
    assert [point.value for point in one] == pytest.approx([point.value for point in two], rel=1e-3)


def test_the_training_error_is_below_the_variance_of_the_tutorial_data(tracked: Run) -> None:
    _, target = make_regression(1000, 20, noise=0.1, random_state=1)
    variance = np.var(target[:500])
    assert tracked.data.metrics[MSE.final("train")] < variance
