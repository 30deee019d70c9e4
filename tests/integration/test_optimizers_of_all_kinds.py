"""Learning rates of all kinds and optimizers without one; remedies name the rate of the parameters that exploded."""

import re

import numpy as np
import pytest
import torch

from gradclip import ClipGradients, GradientMonitor, Norm
from tests.support.optimizers import Clearing, Overwriting
from tests.support.small_trainings import Training, fit, make, weights


class Optimized(Training):
    def __init__(self, make_optimizer):
        super().__init__()
        self.make_optimizer = make_optimizer

    def configure_optimizers(self):
        return self.make_optimizer(self)


class WithoutRate(torch.optim.Optimizer):
    """An optimizer that chooses its own learning rate, as Adafactor can."""

    rate = 0.01

    def __init__(self, parameters, **defaults):
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure=None):
        loss = closure and torch.enable_grad()(closure)()
        for parameter in self.param_groups[0]["params"]:
            parameter.sub_(parameter.grad, alpha=self.rate)
        return loss


class Unhookable(torch.optim.Optimizer):
    """A wrapper that does not call the constructor of its base class, as some wrappers do."""

    def __init__(self, inner):
        self.inner, self.param_groups, self.defaults, self.state = inner, inner.param_groups, {}, {}

    def step(self, closure=None):
        return self.inner.step(closure)

    def zero_grad(self, set_to_none=True):
        self.inner.zero_grad(set_to_none)


def one_cycle(module):
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=8)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


OPTIMIZERS = {
    "rate of None": (lambda module: WithoutRate(module.parameters(), lr=None), np.nan),
    "no rate": (lambda module: WithoutRate(module.parameters()), np.nan),
    "tensor": (lambda module: torch.optim.Adam(module.parameters(), lr=torch.tensor(0.25)), 0.25),
    "one cycle": (one_cycle, 0.5),
    "groups": (
        lambda module: torch.optim.SGD(
            [{"params": module.body.parameters(), "lr": 1e-6}, {"params": module.head.parameters(), "lr": 0.1}]
        ),
        0.1,
    ),
    "wrapped": (lambda module: Unhookable(torch.optim.SGD(module.parameters(), lr=0.1)), 0.1),
    "fused": (lambda module: torch.optim.SGD(module.parameters(), lr=0.1, fused=True), 0.1),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_the_training_is_unchanged_and_every_step_is_measured(lightning, kind):
    make_optimizer, rate = OPTIMIZERS[kind]
    monitor = GradientMonitor()
    watched, plain = (make(lightning, Optimized, make_optimizer) for _ in range(2))
    fit(lightning, watched, monitor, gradient_clip_val=0.5)
    fit(lightning, plain, gradient_clip_val=0.5)
    assert all(map(torch.equal, weights(watched), weights(plain)))
    np.testing.assert_equal(monitor.learning_rate, rate)
    assert (monitor.record.norm_clipped <= 0.5 + 1e-6).all()
    assert (monitor.record.updates > 0).all()
    assert not monitor.record.skipped.any()


@pytest.mark.parametrize("changing", [Overwriting, Clearing])
def test_gradients_that_the_optimizer_changes_are_recorded_as_used(lightning, changing):
    records = []
    for kind in (changing, torch.optim.SGD):
        monitor = GradientMonitor()
        module = make(lightning, Optimized, lambda module, kind=kind: kind(module.parameters(), lr=0.01))
        fit(lightning, module, monitor, ClipGradients(Norm(0.5)))
        records.append(monitor.record)
    assert not records[0].skipped.any()
    for column in ("norms", "norms_clipped", "weights", "updates"):
        np.testing.assert_allclose(getattr(records[0], column), getattr(records[1], column), rtol=1e-5)


def test_without_an_optimizer_only_the_loss_is_recorded(lightning):
    monitor, module = GradientMonitor(), make(lightning, Optimized, lambda _: None)
    before = weights(module)
    fit(lightning, module, monitor, ClipGradients(Norm(1.0)))
    record = monitor.record
    assert np.isfinite(record.loss).all()
    assert np.isnan(record.norm).all()
    assert record.skipped.all()
    assert monitor.explosion is None
    assert np.isnan(monitor.learning_rate)
    assert all(map(torch.equal, weights(module), before))


def steep(module):
    """Return an optimizer with which the body hardly moves and the head explodes."""
    groups = [{"params": module.body.parameters(), "lr": 1e-6}, {"params": module.head.parameters(), "lr": 1e20}]
    return torch.optim.SGD(groups)


def test_the_remedy_is_for_the_parameter_group_that_exploded(lightning):
    monitor = GradientMonitor()
    fit(lightning, make(lightning, Optimized, steep), monitor, max_epochs=4)
    reasons = {remedy.overrides: remedy.why for remedy in monitor.explosion.remedies}
    assert re.search(r" \(head\.\w+, at a learning rate of 1e\+20\); ", reasons["optimizer.lr=1e+19"])


def test_a_remedy_names_no_number_if_the_learning_rate_is_unknown(lightning):
    class Steep(WithoutRate):
        rate = 1e20

    monitor = GradientMonitor()
    fit(lightning, make(lightning, Optimized, lambda module: Steep(module.parameters())), monitor, max_epochs=4)
    assert "smaller learning rate" in [remedy.overrides for remedy in monitor.explosion.remedies]
    assert "nan" not in str(monitor.explosion)


def test_with_one_cycle_the_remedy_is_based_on_the_rate_of_the_diverged_step(lightning):
    def steep_cycle(module):
        optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e19, total_steps=32)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    class Recording(Optimized):
        def on_before_optimizer_step(self, optimizer):
            self.rates = [*getattr(self, "rates", []), optimizer.param_groups[0]["lr"]]

    monitor, module = GradientMonitor(), make(lightning, Recording, steep_cycle)
    fit(lightning, module, monitor, max_epochs=4)
    rate = module.rates[monitor.explosion.divergence.step - 1]
    assert f"optimizer.lr={rate / 10:g}" in [remedy.overrides for remedy in monitor.explosion.remedies]


def test_steps_that_a_loss_scaler_skips_are_recorded_as_skipped(lightning):
    class Spike(Training):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss * torch.inf if batch_idx in {2, 5} else loss

    plugins = __import__(f"{lightning.__name__}.plugins", fromlist=["MixedPrecision"])
    plugin = plugins.MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=64.0))
    monitor, module = GradientMonitor(), make(lightning, Spike)
    fit(lightning, module, monitor, plugins=[plugin])
    assert np.flatnonzero(monitor.record.skipped).tolist() == [2, 5]
    assert monitor.record.norm[monitor.record.step == 1] < 100  # unscaled
    assert monitor.explosion is None
    assert all(weight.isfinite().all() for weight in weights(module))
