"""Each stacked replica gives the results of an ordinary run with the same settings."""

import platform
import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy.stats import mannwhitneyu

from gradclip.clipping.build import METHODS as CLIPPERS
from gradclip.config.composition import compose_config
from gradclip.config.paths import CONFIG_FOLDER
from gradclip.config.schema import TrainConfig
from gradclip.errors import StackingError
from gradclip.stacked.replicas import make_replicas
from gradclip.stacked.training import StackedTraining
from gradclip.training.components import build_components
from gradclip.training.pipeline import collect
from gradclip.training.result import Result

pytestmark = pytest.mark.command  # nearly every test trains whole runs
DOUBLE = "trainer.precision=64-true"  # keeps rounding errors far below the tolerances
FEW = ("data.validation_sequences=200", "data.test_sequences=100")
ADDING = ("data=adding", "data.length=10", "data.steps_per_epoch=8", *FEW)
ORDER = ("data=temporal_order", "data.length=10", "data.train_sequences=100", *FEW)
METHODS = [
    ("clip=none", "data.scale_target=standard"),
    ("clip=norm", "clip.value=1,5"),
    ("clip=norm", "clip.order=inf", "clip.value=0.1,2"),
    ("clip=norm", "threshold=exponential", "threshold.start=2,10", "threshold.steps=20"),
    ("clip=norm", "clip.parameters=*weight", "clip.value=1,5"),
    ("clip=value", "clip.value=1,5"),
    ("clip=value", "clip.lower=-2,-0.5"),
    ("clip=norm_value", "clip.norm=1,5", "clip.value=0.1,0.5"),
    ("clip=groups", "clip.value=1,2"),
    ("clip=adaptive", "clip.value=0.01,0.02", "clip.eps=0.001,0.01"),
    ("clip=auto", "clip.value=10,50"),
    ("clip=zscore", "clip.warmup=3,5", "clip.warmup_norm=1,2", "clip.alpha=0.9,0.97"),
    ("clip=parameter_ema", "clip.warmup=3,5", "clip.beta=0.9,0.98"),
    ("clip=skip", "clip.value=300,1000", "clip.patience=3,10"),
]
OTHER_METHODS = [  # all methods not listed above, at the threshold of their YAML file and at twice that threshold
    (f"clip={name}", f"clip.value={value},{2 * value}")
    for name in CLIPPERS
    if not any(f"clip={name}" in overrides for overrides in METHODS)
    and (value := yaml.safe_load((CONFIG_FOLDER / "clip" / f"{name}.yaml").read_text())["value"])
]
# Ordinary runs compute these thresholds in float32, replicas in float64.
IN_FLOAT32 = {"clip=auto", "clip=zscore", "threshold=exponential"}
TRAININGS = [
    ("clip=norm", "optimizer.momentum=0.0,0.9", "optimizer.weight_decay=0.0,0.1"),
    ("clip=norm", "optimizer.nesterov=true", "schedule=warmup_cosine", "optimizer.lr=0.01,0.02"),
    ("clip=norm", "optimizer=adam", "optimizer.lr=0.01,0.02", "trainer.accumulate_grad_batches=3"),
    ("clip=skip", "clip.value=300,1000", "optimizer=adamw", "optimizer.weight_decay=0.01,0.1"),
    ("clip=norm", "optimizer=rmsprop", "optimizer.momentum=0.5,0.9", "loss=huber", "data=diabetes"),
    ("clip=norm", "data.scale_target=none,minmax", "data.scale_inputs=standard", "model.widths=[8,8]",
     "data.validation_fraction=0.2"),
    ("clip=norm", "model._target_=torch.nn.Linear", "clip.value=1,2"),
    ("clip=norm", "clip.value=0.5,1", *ADDING, "model.layers=2"),
    ("clip=norm", "clip.value=0.5,1", *ADDING, "model=rnn", "model.nonlinearity=relu", "model.truncation=4"),
    ("clip=value", "clip.value=0.01,0.1", *ORDER, "model=lstm", "model.layers=2", "model.truncation=4"),
    ("clip=norm", "clip.value=0.5,1", *ORDER, "model=gru", "trainer.stop_when_solved=true", "data.solved_at=0.3"),
    ("clip=norm", "clip.value=0.5,1", "data=noiseless_memorization", "data.length=5", "data.steps_per_epoch=5",
     *FEW, "model=gru"),
    ("clip=norm", "clip.value=0.5,1", "data=wine", "data.class_weights=balanced"),
]  # fmt: skip


def pair(*overrides: str) -> list[TrainConfig]:
    """Return two configs with different seeds: one with the first, one with the second of comma-separated values."""
    return [compose_config([*(choose(one, seed) for one in overrides), f"seed={seed}"]) for seed in range(2)]


def choose(override: str, number: int) -> str:
    """Return an override with one of its comma-separated values, or with its only value."""
    name, _, text = override.partition("=")
    values = [text] if "[" in text else text.split(",")
    return f"{name}={values[min(number, len(values) - 1)]}"


def train_ordinarily(config: TrainConfig, folder: Path) -> Result:
    parts = build_components(config, folder)
    parts.trainer.fit(parts.module, parts.data)
    return collect(parts)


def train_stacked(configs: list[TrainConfig]) -> list[Result]:
    done = dict(chain.from_iterable(StackedTraining(make_replicas(configs), torch.device("cpu")).run()))
    return [done[number] for number in range(len(configs))]


def assert_same(stacked: Result, ordinary: Result, tolerance: float = 1e-7) -> None:
    assert stacked.record.names == ordinary.record.names
    assert stacked.record.divergence == ordinary.record.divergence
    for column in ordinary.record.columns():
        one, other = getattr(stacked.record, column), getattr(ordinary.record, column)
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=1e-12, err_msg=column)
    assert stacked.curves.keys() == ordinary.curves.keys()
    for split, curve in ordinary.curves.items():
        np.testing.assert_allclose(stacked.curves[split], curve, rtol=1e-5)  # torchmetrics accumulates in float32
    assert (stacked.hidden is None) == (ordinary.hidden is None)
    if stacked.hidden and ordinary.hidden:
        np.testing.assert_array_equal(stacked.hidden.step, ordinary.hidden.step)
        for layer, norms in ordinary.hidden.norms.items():
            np.testing.assert_allclose(stacked.hidden.norms[layer], norms, rtol=tolerance, atol=1e-15)
    for name, weight in ordinary.network.state_dict().items():
        own = stacked.network.state_dict()[name]
        torch.testing.assert_close(own, weight, rtol=tolerance, atol=10 * tolerance, equal_nan=True)


@pytest.mark.parametrize(
    "overrides", [*METHODS, *OTHER_METHODS, *TRAININGS], ids=lambda overrides: " ".join(overrides)[:60]
)
def test_replicas_equal_their_ordinary_runs(overrides: tuple[str, ...], tmp_path: Path) -> None:
    configs = pair(DOUBLE, "trainer.max_epochs=2", *overrides)
    for config, stacked in zip(configs, train_stacked(configs), strict=True):
        assert_same(stacked, train_ordinarily(config, tmp_path), 1e-3 if IN_FLOAT32 & set(overrides) else 1e-7)


def test_diverging_replicas_end_like_ordinary_runs_and_do_not_affect_others(tmp_path: Path) -> None:
    thresholds = (1.0, 1e30, 1e30, 1e30, 5.0)  # the large ones never clip
    configs = [
        compose_config(["trainer.max_epochs=3", "clip=norm", f"clip.value={value}", f"seed={seed}"])
        for seed, value in enumerate(thresholds)
    ]
    stacked = train_stacked(configs)
    ordinary = [train_ordinarily(config, tmp_path) for config in configs]
    diverged = [trained.record.divergence is not None for trained in ordinary]
    assert any(diverged[1:4])
    assert diverged[::4] == [False, False]
    for one, other in zip(stacked, ordinary, strict=True):
        assert len(one.record.step) == len(other.record.step)
        assert len(one.curves["test"]) == len(other.curves["test"])
        assert one.summary.outcome == other.summary.outcome
    for number in (0, 4):  # in float32, rounding errors grow over the steps
        np.testing.assert_allclose(stacked[number].record.norm, ordinary[number].record.norm, rtol=1e-2)
    alone = train_stacked([configs[0]])[0]
    np.testing.assert_allclose(stacked[0].record.norm, alone.record.norm, rtol=1e-2)


def test_diverged_replicas_train_to_the_end_without_a_limit() -> None:
    settings = ("trainer.max_epochs=2", "clip=none", "trainer.steps_after_divergence=null")
    (result,) = train_stacked([compose_config(settings)])
    assert result.record.divergence is not None
    assert len(result.record.step) == 32


def test_training_stops_at_exactly_the_score_at_which_a_task_is_solved(tmp_path: Path) -> None:
    settings = (DOUBLE, *ORDER, "model=gru", "clip=none", "trainer.max_epochs=4")
    (whole,) = train_stacked([compose_config(settings)])
    curve = whole.curves["validation"]
    solved_at = curve.index(max(curve))
    assert solved_at < 3
    config = compose_config([*settings, "trainer.stop_when_solved=true", f"data.solved_at={max(curve)}"])
    for result in (*train_stacked([config]), train_ordinarily(config, tmp_path)):
        assert result.curves["validation"] == pytest.approx(curve[: solved_at + 1])
        assert result.summary.solved


def test_a_stable_training_agrees_in_float32_until_its_end(tmp_path: Path) -> None:
    config = compose_config(["clip=norm", "clip.value=1.0", "trainer.max_epochs=30"])
    stacked, ordinary = train_stacked([config])[0], train_ordinarily(config, tmp_path)
    np.testing.assert_allclose(stacked.record.norm, ordinary.record.norm, rtol=1e-3)
    for split, curve in ordinary.curves.items():
        np.testing.assert_allclose(stacked.curves[split], curve, rtol=1e-3)


def test_a_chaotic_training_agrees_in_float32_for_sixty_steps_and_then_in_distribution(tmp_path: Path) -> None:
    """With values clipped to 5, the training oscillates forever: rounding errors grow tenfold in ten steps."""
    settings = ("clip=value", "clip.value=5.0", "trainer.max_epochs=20")
    configs = [compose_config([*settings, f"seed={seed}"]) for seed in range(6)]
    stacked, ordinary = train_stacked(configs), [train_ordinarily(config, tmp_path) for config in configs]
    for one, other in zip(stacked, ordinary, strict=True):
        np.testing.assert_allclose(one.record.norm[:60], other.record.norm[:60], rtol=1e-2)
    late = [[np.median(trained.curves["test"][10:]) for trained in some] for some in (stacked, ordinary)]
    assert mannwhitneyu(*late).pvalue > 0.005  # 0.002 if the samples did not overlap
    assert np.median(late[0]) == pytest.approx(np.median(late[1]), rel=0.5)


def test_divergence_in_float32_is_found_at_the_same_place_as_in_an_ordinary_run(tmp_path: Path) -> None:
    configs = [compose_config(["trainer.max_epochs=1", "clip=none", f"seed={seed}"]) for seed in range(4)]
    for config, stacked in zip(configs, train_stacked(configs), strict=True):
        ordinary = train_ordinarily(config, tmp_path)
        steps = ordinary.record.divergence.step - 2  # later numbers are too large to be meaningful
        np.testing.assert_allclose(stacked.record.loss[:steps], ordinary.record.loss[:steps], rtol=1e-2)
        one, other = stacked.explosion, ordinary.explosion
        assert (one.divergence, one.kind, one.rows) == (other.divergence, other.kind, other.rows)


class Stateful(torch.nn.Module):
    """A network with buffers, which change without the optimizer."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(in_features)
        self.linear = torch.nn.Linear(in_features, out_features)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(inputs))


class Branching(torch.nn.Linear):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs = super().forward(inputs)
        return outputs if outputs.sum() > 0 else -outputs


class Unused(torch.nn.Linear):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.spare = torch.nn.Parameter(torch.ones(3))


@pytest.mark.parametrize(
    ("network", "reason"),
    [("Stateful", "buffers"), ("Branching", "cannot be stacked"), ("Unused", "spare gets no gradient")],
)
def test_networks_that_cannot_be_stacked_are_refused(network: str, reason: str) -> None:
    target = f"model._target_=tests.stacked.test_training.{network}"
    configs = [compose_config([target, f"seed={seed}"]) for seed in (0, 1)]
    with pytest.raises(StackingError, match=reason):
        StackedTraining(make_replicas(configs), torch.device("cpu"))


def test_dropout_is_refused() -> None:
    config = compose_config([*ADDING, "model.layers=2", "model.dropout=0.5"])
    with pytest.raises(StackingError, match="cannot be stacked"):
        StackedTraining(make_replicas([config]), torch.device("cpu"))


PAGE_FAULTS = """
import resource
import numpy as np
from gradclip.stacked.training import keep_freed_memory

def page_faults():
    for number in range(20):
        np.full(2_000_000, 1.0) + np.full(2_000_000, 1.0)
        if number == 0:
            start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start

returned = page_faults()
keep_freed_memory()
print(returned, page_faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries cannot be configured")
def test_freed_memory_is_reused() -> None:
    done = subprocess.run([sys.executable, "-c", PAGE_FAULTS], capture_output=True, check=True)
    returned, kept = map(int, done.stdout.split())
    assert kept < returned / 10
