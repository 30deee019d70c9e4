"""Only the optimizer's parameters are measured and clipped, including those that are added later."""

import importlib

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_, get_total_norm

from gradclip import ClipGradients, GradientMonitor, Norm, ParameterEMA
from tests.support.small_trainings import Training, fit, make, weights


class HeadOnly(Training):
    """A training run whose body is trainable, but not in the optimizer, so its gradients are never zeroed."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.head.parameters(), lr=0.01)

    def on_before_zero_grad(self, optimizer):
        if self.head.weight.grad is not None:
            self.norms = [*getattr(self, "norms", []), get_total_norm([p.grad for p in self.head.parameters()]).item()]


class AddsTheBody(Training):
    """A training run that adds the body as a parameter group before the last four batches."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.head.parameters(), lr=0.01)

    def on_train_batch_start(self, batch, batch_idx):
        if batch_idx == 4:
            self.optimizers().add_param_group({"params": self.body.parameters(), "lr": 0.02})

    def on_before_optimizer_step(self, optimizer):
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        self.norms = [*getattr(self, "norms", []), get_total_norm(gradients).item()]


class Zeroing(Training):
    """A training run that zeroes the gradients right after the optimizer step."""

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        optimizer.zero_grad()


class Switching(Training):
    """A training run that continues with another optimizer in its second epoch."""

    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            self.trainer.strategy.optimizers = [torch.optim.Adam(self.parameters(), lr=0.01)]


class Foreign(Training):
    """A training run of a tensor that is not registered as a parameter of the module."""

    def __init__(self):
        super().__init__()
        self.scale = [nn.Parameter(torch.ones(1))]

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * self.scale[0].squeeze()

    def configure_optimizers(self):
        return torch.optim.SGD([{"params": self.parameters()}, {"params": self.scale}], lr=0.01)


def test_a_body_outside_the_optimizer_is_not_measured(lightning):
    monitor, module = GradientMonitor(), make(lightning, HeadOnly)
    fit(lightning, module, monitor)
    assert monitor.record.names == ("head.weight", "head.bias")
    np.testing.assert_allclose(monitor.record.norm[:-1], module.norms, rtol=1e-5)


@pytest.mark.parametrize("training", [HeadOnly, AddsTheBody, Foreign])
def test_clipping_equals_lightnings(lightning, training):
    ours, theirs = make(lightning, training), make(lightning, training)
    fit(lightning, ours, GradientMonitor(), ClipGradients(Norm(0.1)))
    fit(lightning, theirs, gradient_clip_val=0.1)
    torch.testing.assert_close(weights(ours), weights(theirs))


@pytest.mark.parametrize("settings", [{}, {"gradient_clip_val": 0.1}])
def test_parameters_added_later_are_measured_and_nan_before(lightning, settings):
    monitor, module = GradientMonitor(), make(lightning, AddsTheBody)
    fit(lightning, module, monitor, **settings)
    record = monitor.record
    assert record.names == ("body.weight", "body.bias", "head.weight", "head.bias")
    for column in ("norms", "norms_clipped", "weights", "updates", "nonfinite"):
        missing = np.isnan(getattr(record, column))
        assert missing[:4, :2].all()
        assert not missing[4:].any()
        assert not missing[:, 2:].any()
    np.testing.assert_allclose(record.norm, module.norms, rtol=1e-5)
    assert record.divergence is None


def test_an_optimizer_that_replaces_another_is_clipped_and_has_its_own_record(lightning):
    ours, theirs, monitor = make(lightning, Switching), make(lightning, Switching), GradientMonitor()
    fit(lightning, ours, monitor, ClipGradients(Norm(0.1)), max_epochs=2)
    fit(lightning, theirs, gradient_clip_val=0.1, max_epochs=2)
    torch.testing.assert_close(weights(ours), weights(theirs))
    first, second = monitor.records["SGD"], monitor.records["Adam"]
    assert [*first.step, *second.step] == [*range(1, 17)]
    assert np.isfinite(second.loss).all()
    assert not second.skipped.any()
    assert (second.learning_rate == 0.01).all()


def test_a_clipper_with_a_state_accepts_new_parameters(lightning):
    clip = ClipGradients(ParameterEMA(warmup=2))
    fit(lightning, make(lightning, AddsTheBody), clip)
    assert all(value.isfinite() for value in clip.state.values())


def test_gradients_are_measured_before_they_are_zeroed_after_the_step(lightning):
    records = []
    for training in (Training, Zeroing):
        monitor = GradientMonitor()
        fit(lightning, make(lightning, training), monitor, gradient_clip_val=0.5)
        records.append(monitor.record)
    assert not records[1].skipped.any()
    for column in ("norms", "norms_clipped", "weights", "updates"):
        np.testing.assert_array_equal(getattr(records[0], column), getattr(records[1], column))


def test_an_unregistered_parameter_is_named_by_its_position(lightning):
    monitor = GradientMonitor()
    fit(lightning, make(lightning, Foreign), monitor)
    assert monitor.record.names[-1] == "optimizer.1.0"


class Unfreezes(Training):
    """A training run that unfreezes the body by hand before the last four batches."""

    changes = True

    def on_fit_start(self):
        self.body.requires_grad_(not self.changes)

    def on_train_batch_start(self, batch, batch_idx):
        if batch_idx == 4:
            self.body.requires_grad_(self.changes)


class Freezes(Unfreezes):
    changes = False


@pytest.mark.parametrize("training", [Unfreezes, Freezes])
def test_layers_frozen_or_unfrozen_by_hand_are_followed(lightning, training):
    monitor = GradientMonitor()
    fit(lightning, make(lightning, training), monitor, gradient_clip_val=0.1)
    record = monitor.record
    frozen = slice(0, 4) if training is Unfreezes else slice(4, 8)
    assert np.isnan(record.norms[frozen, :2]).all()
    assert np.isnan(record.norms).sum() == 8
    np.testing.assert_allclose(record.norm_clipped, 0.1, rtol=1e-5)
    assert not record.skipped.any()


def test_lightnings_own_finetuning_is_followed(lightning):
    finetuning = importlib.import_module(f"{lightning.__name__}.callbacks").BaseFinetuning

    class Unfreezing(finetuning):
        def freeze_before_training(self, pl_module):
            self.freeze(pl_module.body)

        def finetune_function(self, pl_module, epoch, optimizer):
            if epoch == 1:
                self.unfreeze_and_add_param_group(pl_module.body, optimizer, lr=0.02)

    class Trainable(Training):
        def configure_optimizers(self):
            return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.01)

    monitor, clip = GradientMonitor(), ClipGradients(Norm(0.1))
    fit(lightning, make(lightning, Trainable), Unfreezing(), monitor, clip, max_epochs=2)
    assert np.isnan(monitor.record.norms).sum(axis=0).tolist() == [8, 8, 0, 0]
    np.testing.assert_allclose(monitor.record.norm_clipped, 0.1, rtol=1e-5)


class Body(Training):
    """A training run that resumes from a checkpoint whose optimizer had other parameters."""

    strict_loading = False

    def configure_optimizers(self):
        return torch.optim.SGD(self.body.parameters(), lr=0.01)

    def on_load_checkpoint(self, checkpoint):
        checkpoint["optimizer_states"] = []


class Larger(Body):
    def __init__(self):
        super().__init__()
        self.extra = nn.Linear(3, 3)

    def training_step(self, batch, batch_idx):
        return super().training_step((self.extra(batch[0]), batch[1]), batch_idx)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


@pytest.mark.parametrize("training", [Body, Larger])
def test_a_resumed_record_matches_parameters_by_name(lightning, training, tmp_path):
    monitor, module = GradientMonitor(), make(lightning, training)
    fit(lightning, make(lightning, HeadOnly), monitor).save_checkpoint(tmp_path / "head.ckpt")
    head = monitor.record
    fit(lightning, module, monitor, max_epochs=2, ckpt_path=tmp_path / "head.ckpt")
    record = monitor.record
    columns = [record.names.index(name) for name in head.names]
    np.testing.assert_array_equal(record.norms[:8, columns], head.norms)
    np.testing.assert_array_equal(record.norm[:8], head.norm)
    new = [record.names.index(name) for name in record.names if name not in head.names]
    assert np.isnan(record.norms[:8, new]).all()
    assert not np.isnan(record.norms[8:, new]).any()
    assert list(record.names) == [name for name, _ in module.named_parameters() if name in record.names]


def test_the_measured_norm_equals_torchs(lightning):
    class Clipped(Training):
        def on_before_optimizer_step(self, optimizer):
            self.total = clip_grad_norm_(self.parameters(), 1e9).item()

    monitor, module = GradientMonitor(), make(lightning, Clipped)
    fit(lightning, module, monitor)
    assert monitor.record.norm[-1] == pytest.approx(module.total)
