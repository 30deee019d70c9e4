"""Optimizers, schedules and losses follow their formulas and settings."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from gradclip.config import training
from gradclip.config.limits import LARGEST_RATE
from gradclip.config.training import OptimizerSettings
from gradclip.models.optimization import (
    LOSSES,
    OPTIMIZERS,
    build_loss,
    learning_rate_factors,
    optimizer_factory,
    schedule_factory,
)
from gradclip.ranges import LARGEST
from tests.support.torch_version import NEEDS_MUON

NAMES = [pytest.param(name, marks=NEEDS_MUON) if name == "muon" else name for name in OPTIMIZERS]


def factors(steps, warmup_fraction, final_fraction):
    return learning_rate_factors(steps, "warmup_cosine", warmup_fraction=warmup_fraction, final_fraction=final_fraction)


def formula(step, steps, warmup_fraction, final_fraction):
    warmup = round(steps * warmup_fraction)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    cosine = (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2
    return final_fraction + (1 - final_fraction) * cosine


@pytest.mark.parametrize("steps", [20, 100, 1600])
@pytest.mark.parametrize("warmup_fraction", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("final_fraction", [0.0, 0.1, 1.0])
def test_warmup_and_cosine_follow_their_formula(steps, warmup_fraction, final_fraction):
    expected = [formula(step, steps, warmup_fraction, final_fraction) for step in range(steps)]
    assert factors(steps, warmup_fraction, final_fraction) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_highest_rate_is_the_learning_rate_of_the_optimizer():
    found = factors(steps=100, warmup_fraction=0.1, final_fraction=0.0)
    assert max(found) == found[10] == pytest.approx(1.0)
    assert found[0] == pytest.approx(1 / 11)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_very_short_runs_have_a_positive_first_rate(steps):
    assert 0 < factors(steps, warmup_fraction=0.5, final_fraction=0.0)[0] <= 1.0


def test_the_constant_schedule_is_none():
    assert schedule_factory("constant") is None


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_is_built_and_lowers_a_loss(name):
    parameter = nn.Parameter(torch.tensor([1.0]))
    optimizer = optimizer_factory(name, lr=0.01, weight_decay=0.0)([parameter])
    for _ in range(5):
        optimizer.zero_grad()
        parameter.square().sum().backward()
        optimizer.step()
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert 0 < parameter.item() < 1


def test_settings_reach_the_optimizer():
    make = optimizer_factory("sgd", lr=0.5, momentum=0.9, nesterov=True, weight_decay=0.1)
    group = make([nn.Parameter(torch.ones(1))]).param_groups[0]
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (0.5, 0.9, True, 0.1)


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [("mse", {}, (9 + 0.25) / 2), ("mae", {}, (3 + 0.5) / 2), ("huber", {"delta": 1.0}, (3 - 0.5 + 0.125) / 2)],
)
def test_losses_are_means_over_the_batch(name, settings, expected):
    loss = build_loss(name, **settings)(torch.tensor([[3.0], [0.5]]), torch.zeros(2, 1))
    assert loss.item() == pytest.approx(expected)
    assert name in LOSSES


@pytest.mark.parametrize("name", NAMES)
def test_the_largest_allowed_settings_fit_float32(name):
    kind = next(one for one in OptimizerSettings.__args__ if name in one.model_fields["name"].annotation.__args__)
    largest = {
        "lr": LARGEST_RATE,
        "weight_decay": LARGEST_RATE,
        "eps": LARGEST,
        "betas": (0.9999999999999999, 0.9999999999999999),
    }
    settings = {key: value for key, value in largest.items() if key in kind.model_fields}
    weight = nn.Parameter(torch.ones(2))
    optimizer = optimizer_factory(name, **settings)([weight])
    for _ in range(2):
        weight.grad = torch.ones(2)
        optimizer.step()
    with pytest.raises(ValidationError, match="less than or equal to 10000000000"):
        kind.model_validate({"name": name, "lr": 2 * LARGEST_RATE})


def train_two_layers(optimizer_of, factors=(1.0,) * 4, between=lambda optimizer: optimizer):
    """Train for one step per factor, with gradients multiplied by it; return the parameters."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2, bias=False))
    inputs, optimizer = torch.randn(16, 4), optimizer_of(network.parameters())
    for factor in factors:
        optimizer.zero_grad()
        network(inputs).square().mean().backward()
        for parameter in network.parameters():
            parameter.grad *= factor
        optimizer.step()
        optimizer = between(optimizer)
    return dict(network.named_parameters())


MUON = {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}


@NEEDS_MUON
def test_muon_equals_torchs_muon_for_matrices_and_adamw_for_other_parameters():
    class Separate:
        def __init__(self, parameters):
            matrices, rest = [], []
            for parameter in parameters:
                (matrices if parameter.ndim == 2 else rest).append(parameter)
            muon = torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw", **MUON)
            self.both = (muon, torch.optim.AdamW(rest, lr=0.01, weight_decay=0.1))

        def zero_grad(self):
            for optimizer in self.both:
                optimizer.zero_grad()

        def step(self):
            for optimizer in self.both:
                optimizer.step()

    torch.testing.assert_close(
        train_two_layers(optimizer_factory("muon", **MUON)), train_two_layers(Separate), rtol=0, atol=0
    )


@NEEDS_MUON
def test_muon_continues_from_its_saved_state():
    def save_and_load(optimizer):
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        loaded = optimizer_factory("muon", **MUON | {"lr": 1.0})(parameters)
        loaded.load_state_dict(optimizer.state_dict())
        return loaded

    make = optimizer_factory("muon", **MUON)
    torch.testing.assert_close(train_two_layers(make, between=save_and_load), train_two_layers(make), rtol=0, atol=0)


@NEEDS_MUON
def test_scaling_all_gradients_hardly_changes_muon_but_changes_sgd():
    def change(make):
        one, other = (train_two_layers(make, factors=(factor,) * 4)["0.weight"] for factor in (1.0, 1e-2))
        start = train_two_layers(make, factors=())["0.weight"]
        return ((one - other).norm() / (one - start).norm()).item()

    assert change(optimizer_factory("muon", **MUON)) < 0.02  # not 0, because Muon rounds to bfloat16
    assert change(optimizer_factory("sgd", lr=0.1)) > 0.9


@NEEDS_MUON
def test_muon_evaluates_a_closure_and_returns_its_loss():
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = optimizer_factory("muon", **MUON)([weight])

    def closure():
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4.0
    assert weight.square().sum() < 4.0


@pytest.mark.parametrize(("installed", "fits"), [("2.8.0+cpu", False), ("2.9.1", True), ("3.0.0", True)])
def test_muon_requires_torch_2_9(monkeypatch, installed, fits):
    monkeypatch.setattr(training, "version", lambda _: installed)
    settings = {"name": "muon", **MUON}
    if fits:
        training.MuonOptimizer.model_validate(settings)
    else:
        with pytest.raises(ValidationError, match=r"got 'muon'; needs torch 2\.9 or later, not 2\.8\.0"):
            training.MuonOptimizer.model_validate(settings)
