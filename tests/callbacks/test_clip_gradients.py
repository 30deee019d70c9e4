"""`ClipGradients` clips the gradients that the optimizer uses, and refuses what it cannot clip."""

import copy
from itertools import pairwise

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.strategies import FSDPStrategy
from torch import nn

from gradclip import (
    MLP,
    ClipGradients,
    GradientMonitor,
    Groups,
    Norm,
    ParameterEMA,
    Regressor,
    Skip,
    TabularData,
    Value,
)
from gradclip.clipping.build import METHODS
from gradclip.data.sources import regression
from gradclip.errors import ClippingError, TrainerError
from gradclip.models.optimization import optimizer_factory
from tests.clipping.test_contract import SHORT_WARMUP, make
from tests.support.trainers import QUIET


class Recording(Callback):
    """A callback that records the weights and the gradients that the optimizer used, after each batch."""

    def __init__(self):
        self.weights, self.gradients = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.weights.append(torch.cat([parameter.detach().flatten() for parameter in pl_module.parameters()]))
        used = [parameter.grad.flatten() for parameter in pl_module.parameters() if parameter.grad is not None]
        self.gradients.append(torch.cat(used) if used else torch.zeros(1))


def fit(network, *callbacks, **trainer_arguments):
    recording = Recording()
    arguments = QUIET | {"max_epochs": 2} | trainer_arguments
    trainer = Trainer(**arguments, callbacks=[*callbacks, recording])
    trainer.fit(Regressor(network), TabularData(regression()))
    return recording


def make_network():
    torch.manual_seed(0)
    return MLP(20)


@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize(("algorithm", "clipper"), [("norm", Norm(1.0)), ("value", Value(5.0))])
def test_clipping_equals_lightnings_own_step_by_step(algorithm, clipper, accumulated):
    network = make_network()
    ours = fit(copy.deepcopy(network), ClipGradients(clipper), accumulate_grad_batches=accumulated)
    theirs = fit(
        network, gradient_clip_val=clipper.value, gradient_clip_algorithm=algorithm, accumulate_grad_batches=accumulated
    )
    assert len(ours.weights) == 32
    torch.testing.assert_close(ours.weights, theirs.weights, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("clipper", "order", "limit"), [(Norm(0.5), 2, 0.5), (Value(0.1), torch.inf, 0.1), (ParameterEMA(), 2, 1.0)]
)
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_gradients_that_the_optimizer_uses_do_not_exceed_the_threshold(clipper, order, limit, precision):
    recording = fit(make_network(), ClipGradients(clipper), precision=precision)
    assert max(gradient.norm(order).item() for gradient in recording.gradients) == pytest.approx(limit, rel=1e-6)


def test_frozen_and_unused_parameters_do_not_change():
    network = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 1))
    network[0].weight.requires_grad_(False)
    frozen = network[0].weight.clone()
    network.unused = nn.Parameter(torch.ones(3))
    network.forward = lambda inputs: network[2](network[1](network[0](inputs)))
    fit(network, ClipGradients(Norm(1.0)), max_epochs=1)
    assert torch.equal(network[0].weight, frozen)
    assert torch.equal(network.unused, torch.ones(3))
    assert network.unused.grad is None


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_a_trainer_that_also_clips_is_refused(algorithm):
    with pytest.raises(TrainerError) as caught:
        fit(make_network(), ClipGradients(Norm(1.0)), gradient_clip_val=2.0, gradient_clip_algorithm=algorithm)
    assert str(caught.value) == "gradient_clip_val: got 2.0; must be None, since ClipGradients clips already"


def test_the_state_is_none_before_the_first_step():
    assert ClipGradients(Skip()).state_dict() == {"state": None}


def test_a_skipped_update_changes_no_weight_not_even_by_momentum_or_weight_decay():
    class Spiking(Callback):
        """A callback that puts NaN into a gradient at steps 3 and 4, counted from 1."""

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            if trainer.global_step in (2, 3):
                next(pl_module.parameters()).grad[0] = torch.nan

    recording = Recording()
    clip = ClipGradients(Skip())
    monitor = GradientMonitor()
    trainer = Trainer(**QUIET, max_epochs=1, callbacks=[Spiking(), monitor, clip, recording])
    optimizer = optimizer_factory("sgd", lr=1e-6, momentum=0.9, weight_decay=0.1)
    trainer.fit(Regressor(make_network(), optimizer=optimizer), TabularData(regression()))
    moved = [not torch.equal(before, now) for before, now in pairwise(recording.weights)]
    assert moved == [True, False, False, *[True] * 12]
    assert clip.state["skipped"] == 2
    assert monitor.record.step[monitor.record.skipped].tolist() == [3, 4]
    assert recording.weights[-1].isfinite().all()


@pytest.mark.parametrize("restored", [None, {}], ids=["from the start", "from a checkpoint"])
def test_sparse_gradients_are_refused(restored):
    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.EmbeddingBag(5, 1, sparse=True)

        def forward(self, inputs):
            return self.table(inputs.long().clamp(0, 4))

    clip = ClipGradients(Norm(1.0))
    clip.load_state_dict({"state": restored})
    with pytest.raises(TrainerError, match=r"^network\.table\.weight: got a sparse gradient; must be dense"):
        fit(Bag(), clip)


class ClippedOutOfPlace(Callback):
    """A callback that clips a copy of each step's gradients, and records the gradients that the optimizer used."""

    def __init__(self, clipper):
        self.clipper, self.expected, self.used = clipper, [], []

    def on_train_start(self, trainer, pl_module):
        self.state = self.clipper.init(dict(pl_module.named_parameters()))

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        named = dict(pl_module.named_parameters())
        gradients = {name: parameter.grad.clone() for name, parameter in named.items()}
        clipped, self.state, report = self.clipper(gradients, named, self.state)
        self.expected.append([None] * len(named) if report.skipped else list(clipped.values()))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.used.append([parameter.grad for parameter in pl_module.parameters()])


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_every_method_clips_the_same_in_place_and_out_of_place_in_bf16(name, precision):
    clipper = make(name, **SHORT_WARMUP.get(name, {}))
    reference = ClippedOutOfPlace(clipper)
    fit(make_network(), reference, ClipGradients(clipper), precision=precision, max_epochs=1, limit_train_batches=8)
    assert len(reference.used) == 8
    for expected, used in zip(reference.expected, reference.used, strict=True):
        torch.testing.assert_close(used, expected, equal_nan=True)


def test_sharded_strategies_are_refused():
    trainer = Trainer(**QUIET)
    trainer.strategy.__class__ = type("Sharded", (FSDPStrategy,), {})
    with pytest.raises(TrainerError, match=r"^strategy: got Sharded; ClipGradients needs whole gradients"):
        ClipGradients(Norm(1.0)).on_fit_start(trainer, Regressor(make_network()))


def test_patterns_can_be_checked_before_training():
    clip = ClipGradients(Groups({"nowhere": Norm(1.0)}))
    with pytest.raises(ClippingError, match="got parameters='nowhere'"):
        clip.check(Regressor(make_network()))
    ClipGradients(Groups({"*.bias": Norm(1.0)})).check(Regressor(make_network()))


def test_a_number_is_refused_as_a_clipper():
    with pytest.raises(ClippingError, match=r"^clipper: got 1\.0; must be a Clipper"):
        ClipGradients(1.0)
