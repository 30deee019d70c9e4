"""Manual optimization: each optimizer has its own record, clip fraction, report and clipper state."""

import importlib
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_, get_total_norm

from gradclip import ClipGradients, GradientMonitor, Norm, ParameterEMA
from gradclip.errors import TrainerError
from tests.support.small_trainings import Training, batches, fit, make, weights
from tests.support.trainers import Points

LIMIT = 0.1


def norm_of(module):
    return get_total_norm([p.grad for p in module.parameters() if p.grad is not None]).item()


class Adversaries:
    """A generator and a critic with two steps per batch; the module records the norms by hand."""

    automatic_optimization = False
    clips = False  # whether the module clips by hand
    explodes = False

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.generator, self.critic = nn.Linear(1, 3), nn.Linear(3, 1)
        self.norms = {"Adam": [], "Adam-1": []}

    def configure_optimizers(self):
        rate = 1e30 if self.explodes else 0.01
        return torch.optim.Adam(self.generator.parameters(), lr=0.02), torch.optim.Adam(self.critic.parameters(), rate)

    def training_step(self, batch, batch_idx):
        real, noise = batch
        generating, judging = self.optimizers()
        for _ in range(2):
            self.step(judging, self.critic, self.critic(self.generator(noise).detach()) - self.critic(real))
        self.step(generating, self.generator, -self.critic(self.generator(noise)))

    def step(self, optimizer, network, loss):
        optimizer.zero_grad()
        self.manual_backward(loss.mean() + network.weight.square().sum())
        self.norms["Adam" if network is self.generator else "Adam-1"].append(norm_of(network))
        if self.clips:
            clip_grad_norm_(network.parameters(), LIMIT)
        optimizer.step()


class ByHand(Adversaries):
    clips = True


class Exploding(Adversaries):
    explodes = True


@pytest.mark.parametrize("flush_every", [1, 20])
def test_the_record_of_each_optimizer_equals_one_computed_by_hand(lightning, flush_every):
    ours, theirs, monitor = make(lightning, Adversaries), make(lightning, ByHand), GradientMonitor(flush_every)
    fit(lightning, ours, monitor, ClipGradients(Norm(LIMIT)))
    fit(lightning, theirs)
    torch.testing.assert_close(weights(ours), weights(theirs))
    steps = {"Adam": [*range(3, 25, 3)], "Adam-1": [step for step in range(1, 25) if step % 3]}
    assert monitor.records.keys() == steps.keys()
    for name, record in monitor.records.items():
        assert record.step.tolist() == steps[name]
        np.testing.assert_allclose(record.norm, ours.norms[name], rtol=1e-5)
        np.testing.assert_allclose(record.norm_clipped, np.minimum(ours.norms[name], LIMIT), rtol=1e-5)
        assert record.clip_fraction == np.mean(np.array(ours.norms[name]) > LIMIT)
        assert (record.learning_rate == {"Adam": 0.02, "Adam-1": 0.01}[name]).all()
        assert np.isnan(record.loss).all()
        assert not record.skipped.any()
    assert monitor.explosions == {"Adam": None, "Adam-1": None}


def test_without_clipping_the_training_is_bitwise_unchanged(lightning):
    watched, plain = make(lightning, Adversaries), make(lightning, Adversaries)
    fit(lightning, watched, GradientMonitor())
    fit(lightning, plain)
    assert all(map(torch.equal, weights(watched), weights(plain)))


def test_a_single_record_is_refused_with_several_optimizers(lightning):
    monitor, clip = GradientMonitor(), ClipGradients(ParameterEMA())
    fit(lightning, make(lightning, Adversaries), monitor, clip)
    for callback, name in ((monitor, "record"), (monitor, "explosion"), (clip, "state")):
        with pytest.raises(TrainerError) as caught:
            getattr(callback, name)
        one_each = f"{name}s has one for each: Adam, Adam-1"
        assert str(caught.value) == f"{name}: got several optimizers; {one_each}"
    assert all(int(state["steps"]) for state in clip.states.values())


def test_the_report_is_about_the_optimizer_that_exploded(lightning):
    monitor = GradientMonitor(flush_every=4, steps_after_divergence=4)
    trainer = fit(lightning, make(lightning, Exploding), monitor)
    assert monitor.explosions["Adam-1"].divergence.place.split()[1].startswith("critic.")
    assert trainer.global_step < 24


def test_metrics_are_prefixed_with_the_name_of_the_optimizer(lightning):
    monitor, logger = GradientMonitor(), Points()
    fit(lightning, make(lightning, Adversaries), monitor, logger=logger, log_every_n_steps=1)
    assert monitor.records.keys() == {"Adam", "Adam-1"}
    for name, record in monitor.records.items():
        norms = logger.points[f"{name}/grad/norm"]
        assert norms == dict(zip(record.step.tolist(), record.norm.tolist(), strict=True))
    assert "grad/norm" not in logger.points


def test_records_and_clipper_states_of_both_optimizers_are_resumed(lightning, tmp_path):
    def callbacks():
        return GradientMonitor(), ClipGradients(ParameterEMA(warmup=2))

    whole, rest = make(lightning, Adversaries), make(lightning, Adversaries)
    once, again = callbacks(), callbacks()
    fit(lightning, whole, *once, max_epochs=2)
    fit(lightning, make(lightning, Adversaries), *callbacks()).save_checkpoint(tmp_path / "half.ckpt")
    fit(lightning, rest, *again, max_epochs=2, ckpt_path=tmp_path / "half.ckpt")
    assert all(map(torch.equal, weights(whole), weights(rest)))
    assert once[0].records.keys() == {"Adam", "Adam-1"}
    for name, record in once[0].records.items():
        for column in record.columns():
            np.testing.assert_array_equal(getattr(again[0].records[name], column), getattr(record, column))


class Toggling(Adversaries):
    """A module that freezes the other network during each step."""

    def step(self, optimizer, network, loss):
        self.toggle_optimizer(optimizer)
        super().step(optimizer, network, loss)
        self.untoggle_optimizer(optimizer)


def test_networks_frozen_in_turn_are_recorded(lightning):
    monitor, module = GradientMonitor(), make(lightning, Toggling)
    fit(lightning, module, monitor)
    for name, norms in module.norms.items():
        np.testing.assert_allclose(monitor.records[name].norm, norms, rtol=1e-5)


class Alone(Adversaries):
    """A module with one optimizer, two batches per step and a closure."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.critic.parameters(), lr=0.01)

    def training_step(self, batch, batch_idx):
        loss = self.critic(batch[0]).square().mean()
        self.losses = [*getattr(self, "losses", []), loss.item()]
        self.manual_backward(loss / 2)
        if batch_idx % 2:
            self.optimizers().step(closure=lambda: self.norms["Adam"].append(norm_of(self.critic)))
            self.optimizers().zero_grad()
        return loss


def test_with_one_optimizer_the_loss_of_the_training_step_is_recorded(lightning):
    monitor, module = GradientMonitor(), make(lightning, Alone)
    fit(lightning, module, monitor, ClipGradients(Norm(LIMIT)))
    record = monitor.record
    np.testing.assert_allclose(record.loss, np.reshape(module.losses, (4, 2)).mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(record.norm, module.norms["Adam"], rtol=1e-5)
    assert record.batch.tolist() == [1, 3, 5, 7]
    assert np.isfinite(record.input_max_abs).all()


class EveryOtherBatch(Adversaries):
    def training_step(self, batch, batch_idx):
        if batch_idx % 2:
            super().training_step(batch, batch_idx)


def test_batch_extremes_are_nan_if_a_step_ends_within_a_batch(lightning):
    monitor, inputs = GradientMonitor(), [batch[0].abs().max().item() for batch in batches()]
    fit(lightning, make(lightning, EveryOtherBatch), monitor)
    record = monitor.records["Adam-1"]
    assert record.batch.tolist() == [1, 1, 3, 3, 5, 5, 7, 7]
    assert np.isnan(record.input_max_abs[::2]).all()
    np.testing.assert_allclose(record.input_max_abs[1::2], inputs[1::2], rtol=1e-6)
    np.testing.assert_allclose(monitor.records["Adam"].input_max_abs, np.reshape(inputs, (4, 2)).max(axis=1), rtol=1e-6)


class Past(Adversaries):
    """A module that calls torch's optimizers directly."""

    def optimizers(self):
        return super().optimizers(use_pl_optimizer=False)


@pytest.mark.parametrize("callback", [GradientMonitor(), ClipGradients(Norm(1.0))], ids=["monitor", "clip"])
def test_steps_that_bypass_lightning_are_refused_before_the_first(lightning, callback):
    module = make(lightning, Past)
    before = weights(module)
    with pytest.raises(TrainerError) as caught:
        fit(lightning, module, callback)
    name = type(callback).__name__
    assert str(caught.value) == (
        f"optimizer: got a step of Adam that bypasses Lightning; {name} needs step() of self.optimizers() without "
        "use_pl_optimizer=False, or use gradclip.watch instead"
    )
    assert all(map(torch.equal, weights(module), before))
    fit(lightning, module)  # without the callback, the optimizers still work


class Sharpness(torch.optim.Optimizer):
    """A wrapper whose steps have other names, as in sharpness-aware minimization."""

    def __init__(self, optimizer):
        super().__init__(optimizer.param_groups, {})
        self.base_optimizer = optimizer

    def second_step(self):
        self.base_optimizer.step()


class Sharp(Adversaries):
    def configure_optimizers(self):
        return Sharpness(torch.optim.Adam(self.critic.parameters()))

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        self.manual_backward(self.critic(batch[0]).square().mean())
        optimizer.second_step()


@pytest.mark.parametrize("callback", [GradientMonitor(), ClipGradients(Norm(1.0))], ids=["monitor", "clip"])
def test_steps_of_a_wrapped_optimizer_that_bypass_lightning_are_refused(lightning, callback):
    with pytest.raises(TrainerError, match=r"^optimizer: got a step of Adam that bypasses Lightning"):
        fit(lightning, make(lightning, Sharp), callback)


class Twice:
    """Automatic optimization with two steps per batch, as in sharpness-aware minimization."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        return (self.network(batch[0]) - batch[1]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        for _ in range(2):
            optimizer.step(closure=optimizer_closure)


def test_the_last_of_two_steps_for_a_batch_is_recorded(lightning):
    monitor, module = GradientMonitor(), make(lightning, Twice)
    fit(lightning, module, monitor)
    assert monitor.record.batch.tolist() == [*range(8)]
    assert np.isfinite(monitor.record.loss).all()
    assert (np.diff(monitor.record.step) > 0).all()


class Quasi:
    """A training run with LBFGS, which evaluates its gradients several times per step."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network, self.seen = nn.Linear(3, 1), []

    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)

    def training_step(self, batch, batch_idx):
        return (self.network(batch[0]) - batch[1]).square().mean()

    def on_after_backward(self):
        self.seen.append((self.global_step, norm_of(self)))


def test_the_last_evaluation_of_lbfgs_is_recorded(lightning):
    monitor, module = GradientMonitor(), make(lightning, Quasi)
    before = [weights(module)]
    collector = importlib.import_module(f"{lightning.__name__}.callbacks").LambdaCallback(
        on_train_batch_end=lambda *_: before.append(weights(module))
    )
    fit(lightning, module, monitor, collector)
    record = monitor.record
    assert len(module.seen) == 24
    np.testing.assert_allclose(record.norm, list(dict(module.seen).values()), rtol=1e-5)
    updates = [[(new - old).norm() for old, new in zip(*pair, strict=True)] for pair in pairwise(before)]
    np.testing.assert_allclose(record.updates, updates, rtol=1e-4)


class ReusedMemory(Training):
    """A training run whose losses have one place in memory, as if they came from a CUDA graph."""

    automatic_optimization = False

    def __init__(self):
        super().__init__()
        self.place, self.losses = torch.zeros(()), []

    def training_step(self, batch, batch_idx):
        loss, optimizer = super().training_step(batch, batch_idx), self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.losses.append(loss.item())
        return self.place.copy_(loss.detach())


def test_each_loss_is_recorded_although_the_next_one_overwrites_it(lightning):
    module, monitor = make(lightning, ReusedMemory), GradientMonitor()
    fit(lightning, module, monitor)
    np.testing.assert_allclose(monitor.record.loss, module.losses, rtol=1e-6)
