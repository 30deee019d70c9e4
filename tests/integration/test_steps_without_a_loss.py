"""A step without a loss or a gradient is a skipped step, not a divergence."""

import numpy as np
import pytest
import torch
from torch import nn

from gradclip import ClipActivations, ClipGradients, GradientMonitor, HiddenStateMonitor
from gradclip.clipping.build import METHODS
from tests.clipping.test_contract import make as make_clipper
from tests.support.small_trainings import Training, fit, make, weights


class BadBatches(Training):
    """A training run without a loss for the third and the fourth batch."""

    def training_step(self, batch, batch_idx):
        return None if batch_idx in {2, 3} else super().training_step(batch, batch_idx)


class ZeroedBatches(BadBatches):
    """The same training run with gradients of zero instead of none."""

    def optimizer_zero_grad(self, epoch, batch_idx, optimizer):
        optimizer.zero_grad(set_to_none=False)


class Recurrent(BadBatches):
    def __init__(self):
        super().__init__()
        self.recurrent = nn.RNN(3, 3, batch_first=True)

    def training_step(self, batch, batch_idx):
        states, _ = self.recurrent(batch[0][:, None].expand(-1, 5, -1))
        return super().training_step((states[:, -1], batch[1]), batch_idx)


@pytest.mark.parametrize("training", [BadBatches, ZeroedBatches])
def test_a_step_without_a_loss_is_skipped_and_training_continues(lightning, training):
    monitor = GradientMonitor(flush_every=1, steps_after_divergence=0)
    fit(lightning, make(lightning, training), monitor)
    record = monitor.record
    assert record.step.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert np.flatnonzero(record.skipped).tolist() == [2, 3]
    assert np.flatnonzero(np.isnan(record.loss)).tolist() == [2, 3]
    assert monitor.explosion is None
    assert record.clip_fraction == 0


def test_a_missing_gradient_is_nan_and_does_not_count(lightning):
    monitor = GradientMonitor()
    fit(lightning, make(lightning, BadBatches), monitor, gradient_clip_val=1e-3)
    record = monitor.record
    assert np.flatnonzero(np.isnan(record.norm)).tolist() == [2, 3]
    assert not record.nonfinite.any()
    assert record.clip_fraction == 1
    assert record.norm_percentile(0) > 0


def test_the_other_accumulated_batches_count(lightning):
    monitor = GradientMonitor()
    fit(lightning, make(lightning, BadBatches), monitor, accumulate_grad_batches=3)
    assert not monitor.record.skipped.any()
    assert np.isfinite(monitor.record.loss).all()


@pytest.mark.parametrize("name", METHODS)
def test_every_clipper_handles_steps_without_a_loss(lightning, name):
    module = make(lightning, BadBatches)
    fit(lightning, module, ClipGradients(make_clipper(name)))
    assert all(weight.isfinite().all() for weight in weights(module))


def test_the_forward_of_recurrent_layers_is_restored(lightning):
    module, monitor = make(lightning, Recurrent), HiddenStateMonitor()
    fit(lightning, module, monitor, ClipActivations())
    assert "forward" not in vars(module.recurrent)
    assert monitor.record.step.tolist() == [1, 2, 5, 6, 7, 8]


def test_monitors_do_not_change_the_training(lightning):
    plain, watched = make(lightning, BadBatches), make(lightning, BadBatches)
    fit(lightning, plain)
    fit(lightning, watched, GradientMonitor(), HiddenStateMonitor())
    assert all(map(torch.equal, weights(plain), weights(watched)))
