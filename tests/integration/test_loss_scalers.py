"""Gradients are unscaled before they are measured and clipped; a training run with an unknown scale is refused."""

import importlib

import numpy as np
import pytest
import torch
from torch.nn.utils import clip_grad_norm_

from gradclip import ClipActivations, ClipGradients, GradientMonitor, HiddenStateMonitor, Norm
from gradclip.errors import TrainerError
from tests.integration.test_several_optimizers import Adversaries
from tests.support.small_trainings import Training, batches, fit, make, weights

LIMIT = 0.1
OVERFLOWING = {0, 1, 5}  # steps, counted from 0


class Overflowing(Training):
    """A training run whose gradients overflow in the first two steps and in the sixth."""

    fused, optimizer = False, torch.optim.AdamW

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * (torch.inf if batch_idx in OVERFLOWING else 1)

    def configure_optimizers(self):
        return self.optimizer(self.parameters(), lr=0.01, fused=self.fused)


class FusedAdamW(Overflowing):
    fused = True


class FusedSGD(FusedAdamW):
    optimizer = torch.optim.SGD


def plugin(lightning, scaler=None):
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0) if scaler is None else scaler
    kind = importlib.import_module(f"{lightning.__name__}.plugins").MixedPrecision
    mixed = kind("16-mixed", "cpu", scaler)
    mixed.autocast_context_manager = lambda: torch.autocast("cpu", enabled=False)  # keeps exact numbers
    return mixed


def by_hand(module):
    """Train the same in plain torch and return the gradient norms."""
    optimizer, scaler, norms = module.configure_optimizers(), torch.amp.GradScaler("cpu", init_scale=1024.0), []
    for number, batch in enumerate(batches()):
        optimizer.zero_grad()
        scaler.scale(module.training_step(batch, number)).backward()
        scaler.unscale_(optimizer)
        norms.append(clip_grad_norm_(module.parameters(), LIMIT).item())
        scaler.step(optimizer)
        scaler.update()
    return norms


@pytest.mark.parametrize("training", [Overflowing, FusedAdamW, FusedSGD])
@pytest.mark.parametrize("flush_every", [1, 20])
def test_clipping_equals_clipping_by_hand_with_and_without_a_fused_optimizer(lightning, training, flush_every):
    ours, theirs, monitor = make(lightning, training), make(lightning, training), GradientMonitor(flush_every)
    norms = by_hand(theirs)
    fit(lightning, ours, monitor, ClipGradients(Norm(LIMIT)), plugins=[plugin(lightning)])
    torch.testing.assert_close(weights(ours), weights(theirs))
    record = monitor.record
    used = np.isfinite(norms)
    assert np.flatnonzero(~used).tolist() == sorted(OVERFLOWING)
    assert (record.scaler_skipped == ~used).all()
    assert (record.skipped == ~used).all()
    np.testing.assert_allclose(record.norm[used], np.array(norms)[used], rtol=1e-5)
    np.testing.assert_allclose(record.norm_clipped[used], LIMIT, rtol=1e-5)
    assert record.norm_percentile(100) == pytest.approx(np.array(norms)[used].max(), rel=1e-5)
    assert record.clip_fraction == 1
    assert monitor.explosion is None


@pytest.mark.parametrize("training", [Overflowing, FusedAdamW])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_step_whose_last_batch_has_no_loss_is_skipped_as_without_the_callbacks(lightning, training, accumulated):
    class Gaps(training):
        def training_step(self, batch, batch_idx):
            return None if batch_idx in {0, 3} else Training.training_step(self, batch, batch_idx)

    settings = {"accumulate_grad_batches": accumulated}
    watched, plain = make(lightning, Gaps), make(lightning, Gaps)
    monitor, clip = GradientMonitor(), ClipGradients(Norm(1e9))
    fit(lightning, watched, monitor, clip, plugins=[plugin(lightning)], **settings)
    fit(lightning, make(lightning, Gaps), ClipGradients(Norm(LIMIT)), plugins=[plugin(lightning)], **settings)
    fit(lightning, plain, plugins=[plugin(lightning)], **settings)
    assert all(map(torch.equal, weights(watched), weights(plain)))
    record, skipped = monitor.record, {1: [0, 3], 2: [1]}[accumulated]
    assert np.flatnonzero(record.skipped).tolist() == skipped
    assert np.flatnonzero(np.isnan(record.norm)).tolist() == skipped


def test_norms_are_unscaled_in_manual_optimization_with_several_optimizers(lightning):
    module, monitor = make(lightning, Adversaries), GradientMonitor()
    fit(lightning, module, monitor, plugins=[plugin(lightning)])
    for name, norms in module.norms.items():  # the module records scaled norms
        np.testing.assert_allclose(monitor.records[name].norm, np.array(norms) / 1024, rtol=1e-5)


class Scaler:
    """A loss scaler other than torch's."""


CALLBACKS = [GradientMonitor(), ClipGradients(Norm(1.0)), ClipActivations(), HiddenStateMonitor()]


@pytest.mark.parametrize("callback", CALLBACKS, ids=lambda callback: type(callback).__name__)
def test_a_precision_plugin_with_an_unknown_scale_is_refused(lightning, callback):
    name = type(callback).__name__
    plugins = importlib.import_module(f"{lightning.__name__}.plugins")

    class Own(plugins.Precision):
        def pre_backward(self, tensor, module):
            return super().pre_backward(tensor * 1024, module)

    module = make(lightning)
    before = weights(module)
    with pytest.raises(TrainerError) as caught:
        fit(lightning, module, callback, plugins=[Own()])
    assert str(caught.value) == (
        f"precision: got Own, which may scale the loss; {name} needs the scaler in its attribute scaler"
    )
    with pytest.raises(TrainerError) as caught:
        fit(lightning, module, callback, plugins=[plugin(lightning, Scaler())])
    assert str(caught.value) == (
        f"precision: got MixedPrecision with a Scaler; {name} needs a torch.amp.GradScaler, or precision=bf16-mixed"
    )
    assert all(map(torch.equal, weights(module), before))


@pytest.mark.parametrize("callback", [ClipActivations(), HiddenStateMonitor()])
def test_the_loss_scale_of_deepspeed_is_refused_in_float16_only(lightning, callback):
    plugins = importlib.import_module(f"{lightning.__name__}.plugins")
    kind = type("DeepSpeedPrecision", (plugins.Precision,), {"precision": "16-mixed"})
    with pytest.raises(TrainerError, match=r"^precision: got DeepSpeedPrecision, which may scale the loss; "):
        fit(lightning, make(lightning), callback, plugins=[kind()])
    kind.precision = "bf16-mixed"
    fit(lightning, make(lightning), callback, plugins=[kind()])


@pytest.mark.parametrize("limit", [1e-3, 1e9])
def test_layer_outputs_are_clipped_in_float16_at_any_loss_scale(lightning, limit):
    """A threshold times a loss scale may be too large for float16, in which the derivatives are computed."""

    def train(**settings):
        module, clip = make(lightning), ClipActivations(limit, limit)
        fit(lightning, module, clip, max_steps=1, **settings)
        return weights(module), clip.clip_fraction

    mixed = importlib.import_module(f"{lightning.__name__}.plugins").MixedPrecision
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14)
    mine, fraction = train(plugins=[mixed("16-mixed", "cpu", scaler)])
    plain, expected = train()
    torch.testing.assert_close(mine, plain, rtol=1e-3, atol=1e-4)
    assert fraction == expected == (limit < 1)
