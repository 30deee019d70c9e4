"""Complex weights are measured and clipped as pairs of real numbers, as torch does."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_, get_total_norm

from gradclip import ClipGradients, GradientMonitor, Norm
from gradclip.clipping.build import METHODS
from tests.clipping.test_contract import SHORT_WARMUP, draw
from tests.clipping.test_contract import make as make_clipper
from tests.support.small_trainings import Training, fit, make, weights


class Complex(Training):
    def __init__(self, width=4):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.spectrum = nn.Parameter(torch.randn(3, width, dtype=torch.complex64, generator=generator))
        self.norms, self.clipped = [], []

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) + (batch[0].to(torch.complex64) @ self.spectrum).abs().mean()

    def on_before_optimizer_step(self, optimizer):
        self.norms.append(get_total_norm([p.grad for p in self.parameters()]).item())


@pytest.mark.parametrize("width", [4, 20_000], ids=["small", "large"])
def test_norms_equal_torchs(lightning, width):
    monitor, module = GradientMonitor(updates_every=1), make(lightning, Complex, width)
    before = module.spectrum.detach().clone()
    fit(lightning, module, monitor, limit_train_batches=1)
    record = monitor.record
    spectrum = record.names.index("spectrum")
    np.testing.assert_allclose(record.norm, module.norms, rtol=1e-5)
    assert record.weights[0, spectrum] == pytest.approx(module.spectrum.to(torch.complex128).norm().item())
    assert record.updates[0, spectrum] == pytest.approx((module.spectrum - before).norm().item(), rel=1e-4)
    assert record.cosine[0] == pytest.approx(1)


def test_clipping_by_norm_equals_torchs(lightning):
    class ByTorch(Complex):
        def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
            clip_grad_norm_(self.parameters(), 0.5)

    ours, theirs = make(lightning, Complex), make(lightning, ByTorch)
    monitor = GradientMonitor()
    fit(lightning, ours, monitor, ClipGradients(Norm(0.5)))
    fit(lightning, theirs)
    torch.testing.assert_close(weights(ours), weights(theirs))
    np.testing.assert_allclose(monitor.record.norm_clipped, 0.5, rtol=1e-5)


@pytest.mark.parametrize("order", [1.0, 2.0, 3.0, torch.inf])
def test_every_norm_order_equals_torchs(order):
    gradients = {"weight": torch.tensor([3 + 4j, 1 - 2j]), "bias": torch.tensor([0.5])}
    parameters = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients.values()]
    for parameter, gradient in zip(parameters, gradients.values(), strict=True):
        parameter.grad = gradient.clone()
    clip_grad_norm_(parameters, 0.5, norm_type=order)
    clipped = Norm(0.5, order)(gradients, gradients, {})[0]
    torch.testing.assert_close([*clipped.values()], [parameter.grad for parameter in parameters])


@pytest.mark.parametrize(
    "name", sorted({*METHODS} - {"adaptive", "spectral"})
)  # for these, pairs of real numbers form other rows
def test_every_method_clips_complex_numbers_like_pairs_of_real_numbers(name):
    clipper = make_clipper(name, **SHORT_WARMUP.get(name, {}))
    paired, numbers = clipper.init(draw()), clipper.init(draw())
    for seed in range(4):
        real, imaginary = draw(3.0, seed=seed), draw(3.0, seed=seed + 10)
        gradients = {key: torch.complex(real[key], imaginary[key]) for key in real}
        pairs = {key: torch.view_as_real(gradient) for key, gradient in gradients.items()}
        expected, paired, _ = clipper(pairs, pairs, paired)
        clipped, numbers, report = clipper(copy.deepcopy(gradients), gradients, numbers)
        for key in expected:
            torch.testing.assert_close(torch.view_as_real(clipped[key]), expected[key])
        assert report.norm.isfinite()


def test_a_unit_of_complex_weights_is_limited_by_its_own_norm():
    weight = torch.tensor([[3 + 4j, 0], [1, 1j]])
    clipped = make_clipper("adaptive", value=0.1)({"weight": weight * 10}, {"weight": weight}, {})[0]["weight"]
    torch.testing.assert_close(clipped.norm(dim=1), weight.norm(dim=1) * 0.1)


def test_a_callback_of_every_method_keeps_complex_weights_finite(lightning):
    for name in METHODS:
        module = make(lightning, Complex)
        fit(lightning, module, ClipGradients(make_clipper(name)), limit_train_batches=2)
        assert module.spectrum.isfinite().all()
