"""The monitor's norms after clipping are those that the optimizer uses, whoever clips after it."""

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.plugins import Precision
from torch import nn

import gradclip
from gradclip import ClipGradients, GradientMonitor, Norm
from gradclip.clipping.base import Rescaler
from gradclip.telemetry import recorders
from tests.callbacks.test_gradient_monitor import rows_of
from tests.support.trainers import QUIET

pytestmark = pytest.mark.unit


class Sums(LightningModule):
    """Two parameters whose gradients are 1, 2, 3, ..."""

    def __init__(self):
        super().__init__()
        self.tensors = nn.ParameterList(torch.zeros(size) for size in (3, 5))

    def training_step(self, batch, batch_index):
        return sum((tensor * torch.arange(1.0, len(tensor) + 1)).sum() for tensor in self.tensors)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def clamp(self):
        """Clip through ``.data``: only the last elements change, and no version counter increases."""
        for tensor in self.tensors:
            tensor.grad.data.clamp_(max=2.5)

    def clamp_once(self):
        """Clip the same elements by one in-place operation, which increases the version counter."""
        for tensor in self.tensors:
            tensor.grad.clamp_(max=2.5)


class OwnClipping(Sums):
    def clip_gradients(self, *arguments, **keywords):
        self.clamp_once()


class OwnStep(Sums):
    def optimizer_step(self, epoch, batch_index, optimizer, closure=None):
        closure()
        self.clamp()
        optimizer.step()


class OwnPlugin(Precision):
    def clip_grad_by_norm(self, optimizer, clip_val):
        for parameter in self.main_params(optimizer):
            parameter.grad.clamp_(max=2.5)


class OwnRescaler(Rescaler):
    """A clipper that scales each tensor by its own factor, without declaring that the direction changes."""

    def coefficients(self, gradients, parameters, state):
        return torch.tensor([0.5, 0.1]), state


@pytest.mark.parametrize("clip", [1.0, 0, None])
@pytest.mark.parametrize("module", [Sums, OwnClipping, OwnStep])
@pytest.mark.parametrize("plugin", [Precision, OwnPlugin])
def test_norms_after_clipping_are_those_at_the_optimizer_step_whatever_the_user_overrides(
    clip, module, plugin, monkeypatch
):
    network, monitor = fit(monkeypatch, module(), plugins=[plugin()], gradient_clip_val=clip)
    np.testing.assert_allclose(monitor.record.norms_clipped[0], norms_of(network), rtol=1e-6)


@pytest.mark.parametrize("clipper", [Norm(1.0), OwnRescaler()])
@pytest.mark.parametrize("module", [Sums, OwnStep])
def test_norms_after_clipping_are_those_at_the_optimizer_step_with_a_clipper(clipper, module, monkeypatch):
    network, monitor = fit(monkeypatch, module(), ClipGradients(clipper))
    np.testing.assert_allclose(monitor.record.norms_clipped[0], norms_of(network), rtol=1e-6)


@pytest.mark.parametrize("clipper", [None, Norm(1.0), OwnRescaler()])
@pytest.mark.parametrize("change", [Sums.clamp, Sums.clamp_once, None])
def test_norms_after_clipping_are_those_at_the_optimizer_step_in_a_plain_loop_with_a_hook(clipper, change, monkeypatch):
    monkeypatch.setattr(recorders, "COPY_LIMIT", 0)
    network = Sums()
    optimizer = network.configure_optimizers()
    with gradclip.watch(network, optimizer, clipper) as watch:
        if change is not None:
            optimizer.register_step_pre_hook(lambda *_: change(network))
        network.training_step(None, 0).backward()
        optimizer.step()
    np.testing.assert_allclose(watch.record.norms_clipped[0], norms_of(network), rtol=1e-6)


def fit(monkeypatch, module, *callbacks, **settings):
    """Train for one step with the recorder for large networks."""
    monkeypatch.setattr(recorders, "COPY_LIMIT", 0)
    monitor = GradientMonitor()
    trainer = Trainer(**QUIET, **settings, max_steps=1, callbacks=[monitor, *callbacks])
    trainer.fit(module, rows_of(1))
    return module, monitor


def norms_of(network):
    return [tensor.grad.double().norm().item() for tensor in network.tensors]
