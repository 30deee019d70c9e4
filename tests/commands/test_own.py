"""A user's module and data module in the current folder: trained, stopped, resumed, compared and advised on."""

import signal
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from gradclip import keys
from tests.commands.test_resume import LIGHT, assert_same, curves, stop
from tests.conftest import ROOT, TIMEOUT, Command, SearchRuns, StartCommand, assert_one_error_line

SETTINGS = (
    *("module._target_=own_training.NewTraining", "data._target_=own_training.OldBatches", "module.width=3"),
    *("+callbacks=[early_stopping,learning_rate_monitor]", "callbacks.early_stopping.patience=1000"),
    *("clip=norm", "trainer.max_epochs=60", "seed=7103"),
)
FILTER = "params.seed = '7103'"


def test_a_users_module_is_tracked_like_the_built_in_module(
    train: Command, start: StartCommand, compare: Command, advise: Command, runs: SearchRuns, client: MlflowClient,
    store_folder: Path,
) -> None:  # fmt: skip
    pytest.importorskip("lightning.pytorch")
    text = (ROOT / "tests/support/own.py").read_text()
    (store_folder / "own_training.py").write_text(text)  # in the current folder, like a user's file
    process = stop(start, store_folder, signal.SIGTERM, *SETTINGS, *LIGHT[:1], *LIGHT[2:])
    assert process.communicate(timeout=TIMEOUT)[0].startswith("Stopped by SIGTERM after step ")
    resumed = train("resume=last")
    assert resumed.returncode == 0, resumed.stderr
    assert "Outcome: finished" in resumed.stdout
    assert "val_loss: " in resumed.stdout
    whole = train(*SETTINGS, *LIGHT[:1], *LIGHT[2:])
    assert whole.returncode == 0, whole.stderr
    second, first = runs(FILTER)
    assert_same(client, first, second)

    epochs = [step for step, _ in curves(client, first)["val_loss"]]
    assert epochs == [*range(1, 61)]
    assert {"lr-SGD", "train_loss_step", "twice the epoch", keys.LOSS_TRAIN} <= first.data.metrics.keys()
    assert first.data.metrics["final/val_loss"] == curves(client, first)["val_loss"][-1][1]
    assert first.data.tags[keys.SCORE] == "val_loss"
    assert first.info.run_name == (
        "norm=1.0 NewTraining OldBatches width=3 [early_stopping,learning_rate_monitor] patience=1000 max_epochs=60 "
        "seed=7103"
    )
    names = {name for name in first.data.params if not name.startswith(("clip", "threshold", "trainer", "tracking"))}
    assert {name for name in names if name.startswith(("model.", "loss.", "optimizer.", "schedule."))} == set()
    assert first.data.params["module.width"] == "3"
    state = torch.load(client.download_artifacts(first.info.run_id, keys.WEIGHTS_FILE), weights_only=True)
    assert state["network.0.weight"].shape == (3, 3)

    compared = compare(f"runs={FILTER}", "figures=false")
    assert compared.returncode == 0, compared.stderr
    assert "final/val_loss" in compared.stdout
    refused = advise(f"run={first.info.run_id}")
    assert_one_error_line(refused, "tracking.trusted_models: the stored config names 'own_training.NewTraining'")
    trusted = "tracking.trusted_models=[own_training.*,pytorch_lightning.callbacks.*]"
    advised = advise(f"run={first.info.run_id}", trusted)
    assert advised.returncode == 0, advised.stderr
    assert "module._target_=own_training.NewTraining" in advised.stdout
    assert "optimizer" not in advised.stdout
