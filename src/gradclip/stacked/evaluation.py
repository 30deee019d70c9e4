"""Scores of replicas on each split, as in an ordinary run at the end of an epoch."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradclip.arrays import Floats
from gradclip.data.base import TrainingData
from gradclip.data.loaders import EVALUATION_VALUES, Loader
from gradclip.data.sequences import GeneratedSequences
from gradclip.scores import Split
from gradclip.stacked.graphs import GraphedFunction
from gradclip.stacked.network import StackedNetwork
from gradclip.stacked.state import TrainState, distinct
from gradclip.training.outcome import Curves

Examples = tuple[Tensor, ...]  # inputs and targets
EVALUATION_VALUES_GPU = 100_000_000  # input values of all replicas: few kernel launches, a few gigabytes


class StackedEvaluator:
    """Evaluator that scores all replicas in each epoch and keeps their learning curves.

    Examples that replicas share are read once.

    Args:
        data: the data set of each replica, all with the same splits; replicas may share one.
        network: the stacked network.
        epochs: number of epochs of a training run that does not end early.
    """

    def __init__(self, data: Sequence[TrainingData], network: StackedNetwork, epochs: int) -> None:
        self.network = network
        data_sets, data_of = distinct(data)
        loaders = [data_set.val_dataloader() for data_set in data_sets]
        self._examples: dict[Split, dict[Hashable, _SharedExamples]] = {split: {} for split in data[0].splits}
        for replica, index in enumerate(data_of.tolist()):
            for split, loader in zip(data[replica].splits, loaders[index], strict=True):
                shared = self._examples[split].setdefault(_examples_key(loader), _SharedExamples(loader, network))
                shared.replicas.append(replica)
        self._score_factors = np.array([one.score_scale.score.unscaling_factor(one.target_scale) for one in data])
        self._curves = {split: np.empty((len(data), epochs)) for split in data[0].splits}

    def curves(self, replica: int, epochs: int) -> Curves:
        """Return a replica's scores on each split in the first ``epochs`` epochs."""
        return {split: scores[replica, :epochs].tolist() for split, scores in self._curves.items()}

    def scores(self, split: Split, epoch: int) -> Floats:
        """Return the scores of all replicas on a split in an epoch counted from 0, ``[replicas]``."""
        return self._curves[split][:, epoch]

    @torch.no_grad()
    def evaluate(self, state: TrainState, epoch: int) -> None:
        """Score the replicas in a state, for an epoch counted from 0."""
        self.network.learner.eval()
        ids = state.ids.numpy()
        for split, scores in self._curves.items():
            scores[ids, epoch] = self._mean_scores(state, split, epoch) * self._score_factors[ids]
        self.network.learner.train()

    def _mean_scores(self, state: TrainState, split: Split, epoch: int) -> Floats:
        """Return the score of each replica in a state on a split, in scaled units."""
        scores = np.full(len(state.ids), np.nan)
        for shared in self._examples[split].values():
            sums = shared.sums(state)
            if not sums.replicas:
                continue
            for batch in shared.batches(epoch):
                for inputs, targets in self._chunks(batch, sums.replicas):
                    sums.add(inputs, targets)
            scores[sums.rows] = sums.take_means()
        return scores

    def _chunks(self, batch: Examples, replicas: int) -> Iterator[Examples]:
        """Split a batch to limit the memory of all replicas together."""
        values = EVALUATION_VALUES if self.network.options.device.type == "cpu" else EVALUATION_VALUES_GPU
        rows = max(1, values // (replicas * batch[0][0].numel()))
        return zip(*(torch.split(tensor, rows) for tensor in batch), strict=True)


class _SharedExamples:
    """The examples of a split for the replicas that share them.

    Attributes:
        replicas: indices of these replicas among all.
    """

    def __init__(self, loader: Loader, network: StackedNetwork) -> None:
        self._loader, self._network = loader, network
        self.replicas: list[int] = []
        self._sums: _ScoreSums | None = None

    def sums(self, state: TrainState) -> "_ScoreSums":
        """Return the score sums of the replicas in a state; calls with the same state return the same object."""
        if self._sums is None or self._sums.state is not state:
            self._sums = _ScoreSums(self._network, state, state.rows_of(self.replicas))
        return self._sums

    def batches(self, epoch: int) -> Iterable[Examples]:
        """Return the batches in an epoch, on the device."""
        sampler: Any = self._loader.sampler
        if not hasattr(sampler, "set_epoch"):
            return self._fixed_batches
        sampler.set_epoch(epoch)
        return map(self._on_device, self._loader)

    @cached_property
    def _fixed_batches(self) -> list[Examples]:
        return [*map(self._on_device, self._loader)]

    def _on_device(self, batch: Examples) -> Examples:
        return tuple(map(self._network.options.convert, batch))


class _ScoreSums:
    """Sums of the scores of some replicas over examples, on the device.

    Args:
        network: the stacked network.
        state: state of the replicas in training.
        rows: rows of the replicas in the state; None for all.

    Attributes:
        replicas: number of replicas.
        rows: rows of these replicas in the state.
        add: function that adds the scores on inputs and targets, ``[examples, ...]`` each.
    """

    def __init__(self, network: StackedNetwork, state: TrainState, rows: Tensor | None) -> None:
        self.network, self.state, options = network, state, network.options
        self.replicas = len(state.ids if rows is None else rows)
        self.rows = slice(None) if rows is None else rows.numpy()
        self.add = GraphedFunction(self._add, options.device)
        self._index = None if rows is None else rows.to(options.device)
        self._sums = torch.zeros(self.replicas, dtype=options.wide, device=options.device)
        self._counts = torch.zeros_like(self._sums)

    def take_means(self) -> Floats:
        """Return the mean score of each replica, ``[replicas]``, and reset the sums."""
        means: Floats = (self._sums / self._counts).cpu().double().numpy()
        self._sums.zero_()
        self._counts.zero_()
        return means

    def _add(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        constants = {name: self._select(tensor) for name, tensor in self.state.constants.items()}
        outputs = self.network.outputs(self._select(self.state.parameters), constants, inputs)
        targets = targets.expand(len(outputs), *targets.shape)
        scores = self.network.learner.score_per_example(outputs, targets).flatten(1)
        self._sums.add_(scores.sum(dim=1, dtype=self._sums.dtype))
        self._counts.add_(scores.shape[1])
        return ()

    def _select(self, tensor: Tensor) -> Tensor:
        return tensor if self._index is None else tensor.index_select(0, self._index)


def _examples_key(loader: Loader) -> Hashable:
    """Return a key that is the same for all loaders of the same examples."""
    dataset = loader.dataset
    return (dataset.stream, dataset.seed) if isinstance(dataset, GeneratedSequences) else id(dataset)
