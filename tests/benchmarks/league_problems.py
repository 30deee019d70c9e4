"""Problems of the league: each fixes the data, network, optimizer and budget for all methods."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import seed_everything
from sklearn.datasets import make_classification, make_friedman1, make_regression
from torch import Tensor, nn

from gradclip.config.data import RecallTask
from gradclip.config.schema import TrainConfig
from gradclip.data.base import TrainingData
from gradclip.data.classes import labels_of
from gradclip.data.sequences import SequenceData
from gradclip.data.sources import Rows, Table
from gradclip.data.tabular import TabularData
from gradclip.models.build import build_network
from gradclip.scores import Split
from gradclip.stacked.replicas import Replica
from gradclip.training.examples import build_data
from gradclip.training.modules import find_network_arguments

HELD_OUT = 200  # validation rows of a synthetic table; there are three times as many test rows
SEQUENCES = ("data.validation_sequences=1000", "data.test_sequences=1000", "trainer.max_epochs=1")
RECURRENT = (*SEQUENCES, "trainer.batch_size=20", "model.hidden_size=20")


@dataclass(frozen=True)
class Problem:
    """A problem, and the scale of its thresholds.

    Attributes:
        name: name of the problem.
        overrides: settings of the problem, except clipping and seed.
        scale: a threshold in the unit of the gradients, around which thresholds are tried.
        solved: error at which the problem counts as solved; smaller errors are raised to this one.
        output_layer: pattern that matches the parameter names of the output layer.
        build: builds the data of a run.
    """

    name: str
    overrides: tuple[str, ...]
    scale: float
    solved: float = 0.0
    output_layer: str = "network.output.*"
    build: Callable[[TrainConfig], TrainingData] = build_data

    def replicas(self, configs: Sequence[TrainConfig]) -> list[Replica]:
        """Return the replicas of several configs; those with the same seed share data and initial weights."""
        of_seed: dict[int, Replica] = {}
        for config in configs:
            if config.seed not in of_seed:
                data = self._data(config, [replica.data for replica in of_seed.values()])
                arguments = find_network_arguments(config, data)
                seed_everything(config.seed, verbose=False)
                of_seed[config.seed] = Replica(config, data, build_network(**arguments), arguments)
        return [replace(of_seed[config.seed], config=config) for config in configs]

    def _data(self, config: TrainConfig, built: Sequence[TrainingData]) -> TrainingData:
        """Return the data of a seed, which determines the order of a table's rows, or the sequences."""
        if not built or not isinstance(built[0], TabularData):
            return self.build(config)
        data = copy.copy(built[0])
        data.seed = config.seed
        return data


def friedman(config: TrainConfig) -> TabularData:
    """Return Friedman's first function times 100, with noise from Student's t distribution (2 degrees of freedom)."""
    inputs, target = make_friedman1(1200, noise=0.0, random_state=0)
    return _in_table("Friedman", inputs, 100 * target + 30 * np.random.default_rng(0).standard_t(2, 1200), config)


def millions(config: TrainConfig) -> TabularData:
    """Return sixty columns, ten of them informative, and a target in millions."""
    inputs, target = make_regression(1200, 60, n_informative=10, noise=20.0, random_state=0)
    return _in_table("millions", inputs, 1e4 * target, config)


def label_noise(config: TrainConfig) -> TabularData:
    """Return four classes in which a quarter of the rows has a random label."""
    inputs, classes = make_classification(
        1200, 20, n_informative=8, n_classes=4, n_clusters_per_class=1, flip_y=0.25, random_state=0
    )
    return _in_table("label noise", inputs, np.array([*"abcd"], dtype=object)[classes], config)


def _in_table(name: str, inputs: np.ndarray, target: np.ndarray, config: TrainConfig) -> TabularData:
    features, rows = pd.DataFrame(inputs).add_prefix("x"), np.arange(len(target))
    column = pd.Series(target, name="y", dtype=target.dtype)
    train, validation, test = np.split(rows, [len(rows) - 4 * HELD_OUT, len(rows) - 3 * HELD_OUT])
    labels = None if np.issubdtype(target.dtype, np.floating) else labels_of(column.iloc[train])
    split: dict[Split, Rows] = {"train": train, "validation": validation, "test": test}
    scaling = config.data.model_dump(include={"scale_inputs", "scale_target"})
    table = Table(name, "tests/benchmarks/league_problems.py", features, column, split, labels)
    return TabularData(table, config.trainer.batch_size, seed=config.seed, **scaling)


def backwards(config: TrainConfig) -> SequenceData:
    """Return words of five letters that must be repeated backwards after a cue."""
    data = build_data(config)
    assert isinstance(data, SequenceData)
    assert isinstance(config.data, RecallTask)
    draw, letters = data.task.draw, config.data.positions

    def draw_backwards(generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        inputs, target = draw(generator, count)
        target[:, -letters:] = target[:, -letters:][:, ::-1].copy()
        return inputs, target

    data.task = replace(data.task, draw=draw_backwards)
    return data


class Transformer(nn.Module):
    """A causal transformer of one block with learned positions.

    Args:
        in_features: number of different characters.
        out_features: number of classes.
        width: size of the states.
        heads: number of attention heads.
        steps: length of the longest sequence.
    """

    def __init__(self, in_features: int, out_features: int, width: int = 16, heads: int = 2, steps: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.embedding, self.positions = nn.Linear(in_features, width), nn.Linear(steps, width, bias=False)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.attention, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wider, self.narrower = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.output = nn.Linear(width, out_features)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits, ``[sequences, steps, out_features]``."""
        steps = inputs.shape[1]
        states = self.embedding(inputs) + self.positions.weight.T[:steps]
        states = states + self._attend(self.norms[0](states))
        states = states + self.narrower(torch.relu(self.wider(self.norms[1](states))))
        return self.output(self.norms[2](states))  # type: ignore[no-any-return]

    def _attend(self, states: Tensor) -> Tensor:
        sequences, steps, width = states.shape
        parts = self.attention(states).view(sequences, steps, 3, self.heads, width // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind()
        weights = queries @ keys.transpose(-1, -2) / math.sqrt(width // self.heads)
        later = torch.ones(steps, steps, dtype=torch.bool).triu(1)
        found = weights.masked_fill(later, -math.inf).softmax(-1) @ values
        return self.joined(found.transpose(1, 2).reshape(sequences, steps, width))  # type: ignore[no-any-return]


MLP_OUTPUT = "network.2.*"
PROBLEMS = (
    Problem("tutorial", ("data.validation_fraction=0.2", "trainer.max_epochs=50"), 10.0, output_layer=MLP_OUTPUT),
    Problem("diabetes", ("data=diabetes", "trainer.max_epochs=30"), 10.0, output_layer=MLP_OUTPUT),
    Problem(
        "heavy tails",
        ("data.scale_inputs=standard", "trainer.max_epochs=25"),
        30.0,
        output_layer=MLP_OUTPUT,
        build=friedman,
    ),
    Problem(
        "millions",
        ("data.scale_inputs=standard", "trainer.max_epochs=25"),
        3e3,
        output_layer=MLP_OUTPUT,
        build=millions,
    ),
    Problem(
        "label noise",
        ("data=wine", "optimizer.lr=0.3", "trainer.max_epochs=20"),
        0.1,
        output_layer=MLP_OUTPUT,
        build=label_noise,
    ),
    Problem(
        "temporal order",
        ("+experiment=recurrent_explosion", "data.length=12", "data.steps_per_epoch=400", *RECURRENT),
        0.3,
        solved=0.01,
    ),
    Problem(
        "adding",
        ("+experiment=recurrent_divergence", "data.length=12", "data.steps_per_epoch=300", *RECURRENT),
        0.1,
        solved=0.01,
    ),
    Problem(
        "copy",
        (
            *("data=copy", "data.length=3", "data.positions=3", "data.values=4", "data.steps_per_epoch=300"),
            *("model=rnn", "optimizer.lr=0.3", *RECURRENT),
        ),
        0.3,
        solved=0.01,
    ),
    Problem(
        "transformer",
        (
            *("data=noiseless_memorization", "data.length=1", "data.positions=5", "data.values=8"),
            *("data.steps_per_epoch=200", "model._target_=tests.benchmarks.league_problems.Transformer"),
            *("optimizer=adamw", "optimizer.lr=0.03", "trainer.batch_size=10", *SEQUENCES),
        ),
        0.1,
        solved=0.01,
        build=backwards,
    ),
)
