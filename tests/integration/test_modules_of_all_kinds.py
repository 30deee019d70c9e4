"""Unusual modules train unchanged, and every step is measured."""

import pytest
import torch
from torch import nn
from torch.nn.utils import get_total_norm

from gradclip import ClipActivations, ClipGradients, GradientMonitor, HiddenStateMonitor, Norm
from tests.support.small_trainings import Training, fit, make, weights


class Lazy(Training):
    def __init__(self):
        super().__init__()
        self.lazy, self.normalization = nn.LazyLinear(3), nn.LazyBatchNorm1d()

    def training_step(self, batch, batch_idx):
        return super().training_step((self.normalization(self.lazy(batch[0])), batch[1]), batch_idx)


class ManyTypes(Training):
    def __init__(self):
        super().__init__()
        self.wide = nn.Linear(3, 3).double()
        self.narrow = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
        self.complex = nn.Parameter(torch.ones(1, dtype=torch.complex128))

    def training_step(self, batch, batch_idx):
        inputs = self.wide(batch[0].double()) * self.narrow * self.complex.abs()
        return super().training_step((inputs.float(), batch[1]), batch_idx)


class Shared(Training):
    def __init__(self):
        super().__init__()
        self.again = self.body


class Ascending(Training):
    def configure_optimizers(self):
        return torch.optim.RMSprop(self.parameters(), lr=1e-3, maximize=True, weight_decay=0.1)


@pytest.mark.parametrize("training", [Lazy, ManyTypes, Shared, Ascending])
@pytest.mark.parametrize("settings", [{}, {"precision": "bf16-mixed"}], ids=str)
def test_callbacks_do_not_change_the_training(lightning, training, settings):
    monitor, watched, plain = GradientMonitor(), make(lightning, training), make(lightning, training)
    torch.manual_seed(1)  # lazy layers start with random weights
    fit(lightning, watched, monitor, HiddenStateMonitor(), **settings)
    torch.manual_seed(1)
    fit(lightning, plain, **settings)
    assert all(map(torch.equal, weights(watched), weights(plain)))
    assert (monitor.record.norm > 0).all()
    assert monitor.explosion is None


@pytest.mark.parametrize("training", [Lazy, ManyTypes, Shared])
def test_clipping_limits_the_norm_that_torch_computes(lightning, training):
    class Recording(training):
        def on_before_zero_grad(self, optimizer):
            gradients = [p.grad.abs().float() for p in self.parameters() if p.grad is not None]
            self.norms = [*getattr(self, "norms", []), get_total_norm(gradients).item()]

    module = make(lightning, Recording)
    fit(lightning, module, GradientMonitor(), ClipActivations(1e9, 1e9), ClipGradients(Norm(0.05)))
    assert module.norms[1:] == pytest.approx([0.05] * 7, rel=1e-2)


@pytest.mark.parametrize("settings", [{"fast_dev_run": True}, {"limit_train_batches": 0}], ids=str)
def test_trainings_with_at_most_one_step_are_recorded(lightning, settings):
    monitor = GradientMonitor()
    fit(lightning, make(lightning), monitor, HiddenStateMonitor(), ClipGradients(Norm(1.0)), **settings)
    assert len(monitor.record.step) == int("fast_dev_run" in settings)
