"""The user's own modules, data and callbacks, from both Lightning packages, train as without gradclip."""

import warnings
from types import SimpleNamespace

import pytest
import torch

from gradclip.cli.messages import run_message
from gradclip.config.composition import compose_config
from gradclip.errors import GradclipError
from gradclip.scores import CONTEXTS
from gradclip.sweep.stacking import refusal
from gradclip.training.artifacts import datasets_of
from gradclip.training.components import build_components
from gradclip.training.job import Job
from gradclip.training.own_data import OwnData
from gradclip.training.pipeline import train
from tests.support.trainers import SILENT

OWN = "tests.support.own."
LIGHT = ("trainer.max_epochs=3", "trainer.progress_bar=false", "figures=false")
PACKAGES = {"Old": "pytorch_lightning", "New": "lightning.pytorch"}


@pytest.fixture(params=PACKAGES)
def package(request):
    pytest.importorskip(PACKAGES[request.param])
    return request.param


@pytest.fixture
def run(tmp_path):
    def run(*overrides):
        overrides = (*LIGHT, *overrides)
        return train(Job(compose_config(overrides), overrides, tmp_path))

    return run


def module(package, name="Training"):
    return f"module._target_={OWN}{package}{name}"


def data(package, name="Batches"):
    return f"data._target_={OWN}{package}{name}"


def test_a_module_trains_the_same_as_without_gradclip(package, run):
    lightning = pytest.importorskip(PACKAGES[package])
    from tests.support import own

    found = run(module(package), data(package), "module.width=5", "seed=3", "clip=norm", "clip.value=0.5")
    lightning.seed_everything(3, verbose=False)
    batches, alone = getattr(own, f"{package}Batches")(), getattr(own, f"{package}Training")(width=5)
    trainer = lightning.Trainer(**SILENT, max_epochs=3, gradient_clip_val=0.5)
    trainer.fit(alone, datamodule=batches)
    for name, weights in found.network.state_dict().items():
        assert torch.equal(weights, alone.state_dict()[name])
    assert found.summary.scores["validation"] == float(trainer.callback_metrics["val_loss"])
    assert found.summary.scores["train"] == pytest.approx(float(trainer.callback_metrics["train_loss_epoch"]))
    assert found.record.norm_clipped.max() <= 0.5 + 1e-6
    assert len(found.record.step) == 18


@pytest.mark.parametrize("clip", ["clip=zscore", "clip=activation"])
def test_a_module_of_one_package_accepts_data_of_the_other(package, run, clip):
    pytest.importorskip("lightning.pytorch")
    other = {"Old": "New", "New": "Old"}[package]
    found = run(module(package), data(other), clip)
    assert found.summary.outcome == "finished"
    score = {"score": "val_loss", "score_mode": "min", "score_split": "validation"}
    assert found.summary.tags() == {"outcome": "finished", **score}
    assert {"final/loss/train", "final/val_loss", "best/val_loss", "best/epoch"} <= found.summary.metrics().keys()
    assert {split: len(curve) for split, curve in found.curves.items()} == {"train": 3, "validation": 3}


def test_a_module_is_validated_on_the_test_rows_of_our_data(package, run):
    found = run(module(package), "data=regression", "data.features=3", "data.samples=200", "module.lr=1e-6")
    assert found.data.name == "regression"
    assert found.explosion is None
    assert found.summary.scores["test"] > 100  # in the target's unit
    assert found.summary.tags()["score_split"] == "test"


@pytest.mark.parametrize(("overrides", "score"), [
    ((), "mse"), (("data.classes=true", "loss=cross_entropy"), "accuracy"),
])  # fmt: skip
def test_our_network_trains_on_the_users_data(package, run, overrides, score):
    found = run(data(package), *overrides)
    assert (found.summary.score.name, found.summary.outcome) == (score, "finished")
    assert {split: len(curve) for split, curve in found.curves.items()} == {"train": 3, "validation": 3}
    assert found.network_arguments["outputs"] == ((1,) if score == "mse" else (2,))


@pytest.mark.parametrize(("name", "splits", "best"), [
    ("Batches", ["train", "validation"], "best/mse_validation"),
    ("WithoutValidation", ["train", "test"], "best/mse_test"),
    ("ThreeSplits", ["train", "validation", "test"], "best/mse_validation"),
])  # fmt: skip
def test_each_loader_of_the_users_data_is_a_split(package, tmp_path, name, splits, best):
    overrides = (*LIGHT, data(package, name), "tracking=none")
    job = Job(compose_config(overrides), overrides, tmp_path)
    found = train(job)
    assert [*found.curves] == [*found.summary.scores] == splits
    finals = {f"final/mse_{split}" for split in splits}
    named = {name for name in found.summary.metrics() if name.startswith(("final/", "best/mse"))}
    assert named == finals | {best}
    assert [one.context for one in datasets_of(found.data)] == [CONTEXTS[split] for split in splits]
    assert ("Test: " in run_message(job, found)) == ("test MSE " in run_message(job, found)) == ("test" in splits)
    if "test" in splits:
        assert found.summary.scores["test"] > 1000 > 10 * found.summary.scores["train"]  # test targets are larger


def test_test_examples_are_set_up_first_because_each_setup_may_split_anew():
    stages = []
    own = SimpleNamespace(setup=stages.append, val_dataloader=None, test_dataloader=None)
    OwnData(own, "my.Data", is_classification=False).setup("fit")
    assert stages == ["test", "fit"]


def test_manual_optimization_has_one_record_of_all_optimizers(package, run):
    found = run(module(package, "ByHand"), data(package), "clip=norm", "clip.value=0.01")
    assert found.summary.outcome == "finished"
    assert found.record.step.tolist() == [*range(1, 37)]  # both optimizers step in each of 18 batches
    assert (found.record.trained.sum(axis=1) == 1).all()
    assert found.record.trained.sum(axis=0).tolist() == [18, 18]
    assert found.summary.metrics()["grad/clip_fraction"] == 1
    assert found.record.norm_clipped == pytest.approx(0.01)


def test_a_module_that_diverges_is_reported(package, run):
    found = run(module(package), data(package), "module.lr=1e8")
    assert found.summary.outcome == "diverged"
    assert found.explosion.remedies
    assert not any(remedy.changes_any(["optimizer", "loss", "data"]) for remedy in found.explosion.remedies)


def test_a_module_that_diverges_before_its_score_is_known_is_reported(run):
    summary = run(module("Old", "Several"), data("Old"), "module.lr=1e20", "data.rows=600", "metric=gone").summary
    assert (summary.outcome, summary.score.name) == ("diverged", "loss/train")


def test_user_callbacks_follow_ours_and_lightnings_are_of_the_same_package(package, tmp_path):
    stopping = ("+callbacks=early_stopping", "callbacks.early_stopping.patience=1")
    begun = f"callbacks.begun._target_={OWN}{package}Begun"
    config = compose_config((*LIGHT, module(package), data(package), "clip=zscore", *stopping, begun))
    parts = build_components(config, tmp_path)
    assert type(parts.trainer).__module__.startswith(PACKAGES[package])
    (own,) = [one for one in parts.trainer.callbacks if type(one).__name__.endswith("Begun")]
    (early,) = [one for one in parts.trainer.callbacks if type(one).__name__ == "EarlyStopping"]
    assert type(early).__module__.startswith(PACKAGES[package])
    parts.trainer.fit(parts.module, datamodule=parts.data_module)
    assert own.before == ["GradientMonitor", "HiddenStateMonitor", "ClipGradients", "EarlyStopping"]


@pytest.mark.parametrize(("overrides", "count"), [((), 0), ((module("Old"),), 1)])
def test_advice_to_average_over_processes_is_shown_only_for_user_defined_modules(overrides, count, tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        build_components(compose_config((*LIGHT, *overrides, data("Old"))), tmp_path)
        warnings.warn("It is recommended to use `self.log('loss', ..., sync_dist=True)`", stacklevel=1)
    assert sum("sync_dist" in str(one.message) for one in caught) == count


def test_our_network_is_scored_with_averaged_weights(run):
    found = run("+callbacks=weight_averaging", "callbacks.weight_averaging.decay=0.9", "optimizer.lr=1e-6")
    with torch.no_grad():
        errors = [(found.network(x) - y).square().mean() for x, y in [found.data.sets["test"].tensors]]
    assert found.summary.scores["test"] == pytest.approx(float(errors[0]), rel=1e-5)


@pytest.mark.parametrize(("name", "metric", "score"), [
    ("Training", (), "val_loss"),
    ("Training", ("metric=train_loss", "metric_mode=max"), "train_loss"),
    ("Silent", (), "loss/train"),
    ("Several", ("metric=share", "metric_mode=max"), "share"),
])  # fmt: skip
def test_the_score_is_what_the_module_logs(run, name, metric, score):
    summary = run(module("Old", name), data("Old"), *metric).summary
    assert summary.score.name == score
    assert summary.score.higher_is_better == ("metric_mode=max" in metric)
    assert summary.metrics()[f"final/{score}"] == summary.scores["validation"]


@pytest.mark.parametrize(
    ("name", "metric", "split"),
    [("Several", "error", "test"), ("SameName", "error", "test"), ("Several", "train_loss", "validation")],
)
def test_only_a_score_that_is_logged_in_validation_counts_as_measured_on_test_rows(run, name, metric, split):
    ours = ("data=regression", "data.features=3", "data.samples=200", "module.lr=1e-6")
    score = run(module("Old", name), *ours, f"metric={metric}").summary.score
    assert score.split == split
    assert score.splits == ("train", split)


@pytest.mark.parametrize(("overrides", "message"), [
    ((module("Old"), "metric=val_los"), "metric: got 'val_los'; the module logs train_loss, val_loss, twice the epoch"),
    ((module("Old", "Several"),), "metric: got null; the module logs train_loss, error, share, twice the epoch: ch"),
    ((module("Old"), "+callbacks=learning_rate_monitor"), "trainer: Lightning cannot train with these settings; "),
])  # fmt: skip
def test_errors_that_appear_only_during_training_are_one_line(run, overrides, message):
    with pytest.raises(GradclipError) as caught:
        run(data("Old"), *overrides)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


MODULE = "a LightningModule of pytorch_lightning or lightning.pytorch"


@pytest.mark.parametrize(("overrides", "message"), [
    ((module("Old", "Nope"),), f"module._target_: got '{OWN}OldNope'; must be the dotted path of {MODULE}, in an"),
    ((f"module._target_={OWN}Batches",), f"module._target_: got '{OWN}Batches'; must be {MODULE}"),
    ((module("Old"), "module.widht=3"), "module.widht: no such argument of OldTraining (did you mean 'width'?)"),
    ((module("Old"), "module.width=-3"), "module._target_: cannot build OldTraining with ['width']: Trying to create"),
    (("module._target_=torch.optim.SGD",), f"module._target_: got 'torch.optim.SGD'; must be {MODULE}"),
    ((module("Old", "WithoutStep"),), f"module._target_: got '{OWN}OldWithoutStep'; it has no training_step"),
    ((data("Old", "TrainingBatches"),), f"data._target_: got '{OWN}OldTrainingBatches'; it has no val_dataloader or t"),
    ((module("Old", "WithData"),), f"module._target_: got '{OWN}OldWithData'; it has its own data: move"),
    ((module("Old"), data("Old", "WithoutBatches")), f"data._target_: got '{OWN}OldWithoutBatches'; it has no train_"),
    ((module("Old"), "callbacks.x._target_=os.path.join"), "callbacks.x._target_: got 'os.path.join'; must be the"),
    ((f"model._target_={OWN}OldTraining",), f"model._target_: got '{OWN}OldTraining'; it is a LightningModule, whose"),
    ((data("Old"), "loss=cross_entropy"), f"data._target_: got '{OWN}OldBatches'; its inputs are torch.float32 and"),
    ((data("Old"), "data.classes=true"), f"data._target_: got '{OWN}OldBatches'; its inputs are torch.float32 and"),
    ((module("Old"), "optimizer=adam"), f"optimizer: got 'adam'; module._target_={OWN}OldTraining has its own"),
    (("+callbacks=early_stopping",), "callbacks.early_stopping.monitor: got 'val_loss'; must be one of mse/train, m"),
    (("metric=val_loss",), "metric: got 'val_loss'; it can be set only with module._target_"),
    (("model._target_=torch.nn.BatchNorm1d", "+model.num_features=1", "data.features=1", "data.samples=66"),
     "model._target_: torch.nn.BatchNorm1d cannot train on a batch of 1, the last of an epoch; choose another"),
])  # fmt: skip
def test_settings_that_cannot_train_are_refused_before_the_run(tmp_path, overrides, message):
    with pytest.raises(GradclipError) as caught:
        build_components(compose_config((*LIGHT, *overrides)), tmp_path)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("overrides", [(module("Old"),), (data("Old"),), ("+callbacks=early_stopping",)])
def test_the_users_own_classes_are_not_stacked(overrides):
    assert "acts on one training run at a time" in refusal(compose_config(overrides))
