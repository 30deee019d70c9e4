"""The explosion report names the origin of failures that the tests cause at a known place."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from gradclip import ClipGradients, GradientMonitor, Norm, Skip
from tests.support.records import make_record
from tests.support.small_trainings import Training, batches, fit, make

BAD = 4  # index of the batch at which the failure happens


class Layers(Training):
    """Four layers; in one batch, the backward pass produces a NaN just before it reaches one of them."""

    def __init__(self, layer=None):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(4))
        self.layer = layer

    def training_step(self, batch, batch_idx):
        hidden = batch[0]
        for index, layer in enumerate(self.layers):
            hidden = layer(hidden).tanh()
            if index == self.layer and batch_idx == BAD:
                hidden = hidden + (0 * hidden).sqrt()  # its derivative is 0 times infinity
        return super().training_step((hidden, batch[1]), batch_idx)


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
@pytest.mark.parametrize("callbacks", [[], [ClipGradients(Norm(1.0))]], ids=["plain", "clipped"])
def test_a_nan_from_the_backward_pass_is_located_at_the_last_layer_that_has_it(lightning, layer, callbacks):
    monitor = GradientMonitor()
    fit(lightning, make(lightning, Layers, layer), monitor, *callbacks)
    divergence = monitor.explosion.divergence
    assert (divergence.step, divergence.place) == (BAD + 1, f"gradient layers.{layer}.bias")


def change(what, number, kind):
    """Return batches, one of which has a given number in its inputs or its targets."""
    made = []
    for index, (inputs, target) in enumerate(batches()):
        if index == BAD:
            (inputs if what == "inputs" else target)[0] = number
        made.append({"pair": (inputs, target), "dictionary": {"x": inputs, "y": [target]}}[kind])
    return DataLoader(made, batch_size=None)


class AnyBatch(Training):
    def training_step(self, batch, batch_idx):
        pair = (batch["x"], batch["y"][0]) if isinstance(batch, dict) else batch
        return super().training_step(pair, batch_idx)


@pytest.mark.parametrize("kind", ["pair", "dictionary"])
@pytest.mark.parametrize(("what", "number"), [("inputs", torch.nan), ("targets", torch.inf)])
def test_nonfinite_data_is_blamed_instead_of_the_learning_rate_or_clipping(lightning, what, number, kind):
    monitor = GradientMonitor()
    fit(lightning, make(lightning, AnyBatch), monitor, data=change(what, number, kind))
    explosion = monitor.explosion
    assert (explosion.divergence.step, explosion.divergence.place) == (BAD + 1, "loss")
    assert explosion.batch == BAD
    (remedy,) = explosion.remedies
    assert remedy.overrides == "look at these rows"
    assert remedy.why.startswith(what if kind == "pair" else "inputs")


def test_nonfinite_data_is_found_in_any_of_the_accumulated_batches(lightning):
    monitor = GradientMonitor()
    data = change("inputs", torch.nan, "pair")
    fit(lightning, make(lightning, AnyBatch), monitor, data=data, accumulate_grad_batches=2)
    assert [remedy.overrides for remedy in monitor.explosion.remedies] == ["look at these rows"]


class Overflowing(Training):
    """A training run in which Adam's square of one gradient overflows, so that Adam never updates the head again."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss + 1e22 * self.head.weight.sum() if batch_idx == BAD else loss

    decay = 0.0

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01, weight_decay=self.decay)


class Decaying(Overflowing):
    """The same training run with weight decay, which still changes the weights that Adam does not update."""

    decay = 0.1


@pytest.mark.parametrize("training", [Overflowing, Decaying])
def test_an_overflow_of_the_second_moment_is_detected(lightning, training):
    monitor, module = GradientMonitor(flush_every=2), make(lightning, training)
    trainer = fit(lightning, module, monitor)
    assert trainer.optimizers[0].state[module.head.weight]["exp_avg_sq"].isinf().all()
    explosion = monitor.explosion
    assert (explosion.divergence.step, explosion.divergence.place) == (BAD + 1, "update head.weight")
    assert explosion.kind == "overflow"
    assert "no longer updates head.weight" in str(explosion)
    assert (monitor.record.divergence is None) == (training is Decaying)  # weight decay still changes the weights


def test_updates_lost_to_rounding_after_a_huge_step_are_not_an_optimizer_overflow():
    ones = np.ones((6, 2))
    norms, updates = ones * 1.0, ones * 0.001
    norms[2] = 1e20
    updates[2], updates[3:] = (
        np.nan,
        0.0,
    )  # the step was not measured; the weight is so large that later updates are lost
    weights = ones * 1.0
    weights[2:] = 1e18
    assert make_record(norms, weights=weights, updates=updates).divergence is None


class StuckByChoice(Training):
    def configure_optimizers(self):
        return torch.optim.Adam([{"params": self.body.parameters(), "lr": 0.0}, {"params": self.head.parameters()}])


@pytest.mark.parametrize("training", [StuckByChoice, Training])
def test_a_parameter_that_does_not_move_for_other_reasons_is_not_a_failure(lightning, training):
    monitor = GradientMonitor()
    fit(lightning, make(lightning, training), monitor)
    assert monitor.explosion is None


class Normalized(Training):
    """A training run with a BatchNorm layer and an infinite mask that do not affect the loss."""

    def __init__(self, number=1.0):
        super().__init__()
        self.normalization, self.number = nn.BatchNorm1d(3), number
        self.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))

    def training_step(self, batch, batch_idx):
        self.normalization(batch[0] * self.number if batch_idx == BAD else batch[0])
        return super().training_step(batch, batch_idx)

    def val_dataloader(self):
        return batches(2)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", super().training_step((self.normalization(batch[0]), batch[1]), batch_idx))


@pytest.mark.parametrize(("number", "kind"), [(torch.nan, "not a number"), (torch.inf, "not a number")])
def test_nonfinite_batchnorm_statistics_are_detected(lightning, number, kind):
    monitor = GradientMonitor(flush_every=2)
    fit(lightning, make(lightning, Normalized, number), monitor, limit_val_batches=0)
    explosion = monitor.explosion
    assert explosion.divergence.place == "buffer normalization.running_mean"
    assert BAD + 1 <= explosion.divergence.step <= BAD + 2
    assert explosion.kind == kind or number == torch.inf
    assert np.isfinite(monitor.record.loss).all()
    assert "reset the buffer" in str(explosion)


def test_finite_buffers_and_infinite_masks_are_not_a_failure(lightning):
    monitor = GradientMonitor(flush_every=2)
    fit(lightning, make(lightning, Normalized), monitor, num_sanity_val_steps=1)
    assert monitor.explosion is None


class EvaluatedBadly(Normalized):
    """A training run whose validation loss is NaN from the second epoch on."""

    logs = True

    def validation_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx) * (torch.nan if self.current_epoch else 1.0)
        if self.logs:
            self.log("val_loss", loss)
        return loss


class EvaluatedSilently(EvaluatedBadly):
    logs = False


@pytest.mark.parametrize(("training", "name"), [(EvaluatedBadly, "val_loss"), (EvaluatedSilently, "loss")])
def test_a_nan_in_validation_alone_is_detected(lightning, training, name):
    monitor = GradientMonitor()
    fit(lightning, make(lightning, training), monitor, max_epochs=3)
    divergence = monitor.explosion.divergence
    assert (divergence.step, divergence.epoch, divergence.place) == (16, 2, f"validation {name}")
    assert monitor.record.divergence is None


def test_a_logged_training_loss_of_a_skipped_step_is_not_a_validation_failure(lightning):
    class Logging(Normalized):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            loss = loss * torch.nan if batch_idx == BAD else loss
            self.log("train_loss", loss, on_step=True, on_epoch=True)
            return loss

    monitor = GradientMonitor()
    fit(lightning, make(lightning, Logging), monitor, ClipGradients(Skip()), max_epochs=2)
    assert monitor.explosion is None
    assert np.flatnonzero(monitor.record.skipped).tolist() == [BAD, 8 + BAD]


def test_a_divergence_outside_the_record_is_kept_in_the_checkpoint(lightning, tmp_path):
    monitor = GradientMonitor()
    fit(lightning, make(lightning, Normalized, torch.nan), monitor).save_checkpoint(tmp_path / "bad.ckpt")
    place = monitor.explosion.divergence
    fit(lightning, make(lightning, Normalized), monitor, max_epochs=2, ckpt_path=tmp_path / "bad.ckpt")
    assert monitor.explosion.divergence == place
