"""Modules that clip by themselves are measured correctly and never clipped twice without a warning or an error."""

import warnings

import numpy as np
import pytest
import torch
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from gradclip import ClipGradients, GradientMonitor, Norm, Value, ZScore, watch
from gradclip.errors import TrainerError
from tests.support.small_trainings import Training, fit, make


class InItsPlace(Training):
    """A module that overrides Lightning's hook for clipping."""

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        self.clip()

    def clip(self):
        before = torch.cat([p.grad.flatten() for p in self.parameters()])
        clip_grad_value_(self.parameters(), 0.1)
        after = torch.cat([p.grad.flatten() for p in self.parameters()])
        cosine = torch.nn.functional.cosine_similarity(before, after, dim=0)
        self.cosines = [*getattr(self, "cosines", []), cosine.item()]


class BeforeTheStep(InItsPlace):
    """A module that clips in a hook before the step."""

    def on_before_optimizer_step(self, optimizer):
        self.clip()

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)


class InAHook(Training):
    def on_before_optimizer_step(self, optimizer):
        clip_grad_norm_(self.parameters(), 0.1)


class OnData(Training):
    def on_before_optimizer_step(self, optimizer):
        for parameter in self.parameters():
            parameter.grad.data.clamp_(-0.01, 0.01)


class Watching(Training):
    def on_before_optimizer_step(self, optimizer):
        self.norm = torch.stack([p.grad.norm() for p in self.parameters()]).norm()


@pytest.mark.parametrize("training", [InItsPlace, BeforeTheStep])
def test_the_angle_of_a_module_that_clips_is_measured(lightning, training):
    monitor, module = GradientMonitor(), make(lightning, training)
    fit(lightning, module, monitor)
    assert min(module.cosines) < 0.9
    np.testing.assert_allclose(monitor.record.cosine, module.cosines, rtol=1e-5)


def test_the_angle_of_a_callback_that_clips_is_measured(lightning):
    class Clipping(lightning.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            InItsPlace.clip(pl_module)

    monitor, module = GradientMonitor(), make(lightning)
    fit(lightning, module, monitor, Clipping())
    np.testing.assert_allclose(monitor.record.cosine, module.cosines, rtol=1e-5)


def test_the_angle_of_a_watch_that_clips_is_measured(lightning):
    class WithWatch(Training):
        def on_fit_start(self):
            self.watch = watch(self, self.trainer.optimizers[0], Value(0.1))

    monitor, module = GradientMonitor(), make(lightning, WithWatch)
    fit(lightning, module, monitor)
    assert (monitor.record.cosine < 0.9).any()
    np.testing.assert_allclose(monitor.record.cosine, module.watch.record.cosine, rtol=1e-5)
    np.testing.assert_allclose(monitor.record.norm_clipped, module.watch.record.norm_clipped, rtol=1e-6)


def test_a_watch_beside_a_monitor_clips_once_if_a_step_calls_the_step_of_its_base_class(lightning):
    class Derived(torch.optim.SGD):
        def step(self, closure=None):
            return super().step(closure)

    class WithWatch(Training):
        def configure_optimizers(self):
            optimizer = Derived(self.parameters(), lr=0.01)
            self.watch = watch(self, optimizer, ZScore(warmup=2))
            return optimizer

    monitor, module = GradientMonitor(), make(lightning, WithWatch)
    fit(lightning, module, monitor)
    assert module.watch.state_dict()["clipper"]["seen"] == len(monitor.record.step) == 8


def test_an_override_of_lightnings_clipping_is_refused_beside_clip_gradients(lightning):
    with pytest.raises(TrainerError) as caught:
        fit(lightning, make(lightning, InItsPlace), ClipGradients(Norm(1.0)))
    assert str(caught.value) == (
        "configure_gradient_clipping: got an override in InItsPlace; remove it, since ClipGradients clips already"
    )


@pytest.mark.parametrize("training", [InAHook, OnData])
def test_a_hook_that_clips_again_causes_one_warning(lightning, training):
    module = make(lightning, training)
    with pytest.warns(
        UserWarning, match=rf"^{training.__name__}\.on_before_optimizer_step changes gradients that ClipGra"
    ) as caught:
        fit(lightning, module, ClipGradients(Norm(1.0)))
    assert len([warning for warning in caught if "ClipGradients" in str(warning.message)]) == 1
    assert "on_before_optimizer_step" not in vars(module)


@pytest.mark.parametrize("training", [Watching, Training])
def test_a_hook_that_only_reads_gradients_causes_no_warning(lightning, training):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*ClipGradients.*")
        fit(lightning, make(lightning, training), ClipGradients(Norm(1.0)))
