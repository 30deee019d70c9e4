"""Score replicas on training and test examples, as an ordinary run does at the end of an epoch."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gradclip import keys
from gradclip.data.base import TrainingData
from gradclip.data.loaders import EVALUATION_VALUES
from gradclip.stacked.batches import Batch, StackedEvaluationBatches
from gradclip.stacked.network import StackedNetwork
from gradclip.stacked.state import TensorOptions, TrainState


class StackedEvaluator:
    """Score all replicas epoch by epoch, and keep their learning curves.

    Args:
        data: the data of each replica.
        network: the stacked network.
        options: device and dtype of the training.

    Attributes:
        curves: of each replica, its scores on the training and on the test examples, one for each epoch.
    """

    def __init__(self, data: Sequence[TrainingData], network: StackedNetwork, options: TensorOptions) -> None:
        self.network, self.options = network, options
        self.examples = StackedEvaluationBatches(data)
        self._score_factors = torch.tensor([_score_factor(one) for one in data], dtype=torch.float64)
        self.curves: list[tuple[list[float], list[float]]] = [([], []) for _ in data]

    @torch.no_grad()
    def evaluate(self, state: TrainState, epoch: int) -> None:
        """Add a point to the curves of the replicas in a state, for an epoch counted from 0."""
        self.network.learner.eval()
        for part in (0, 1):
            scores = self._mean_scores(state, part, epoch).mul(self._score_factors).tolist()
            for replica in state.ids.tolist():
                self.curves[replica][part].append(scores[replica])
        self.network.learner.train()

    def _mean_scores(self, state: TrainState, part: int, epoch: int) -> Tensor:
        """Return the score of each replica on training (0) or test (1) examples, in scaled units; NaN of all others."""
        sums, counts = torch.zeros(2, len(self._score_factors), dtype=torch.float64)
        for replicas, batch in self.examples.batches(part, epoch):
            selected = state.select_ids(replicas)
            for inputs, targets in self._chunks(batch, len(selected.ids)):
                scores = self._example_scores(selected, inputs, targets)
                sums[selected.ids] += scores.sum(dim=1, dtype=torch.float64).cpu()
                counts[selected.ids] += scores.shape[1]
        mean: Tensor = sums / counts
        return mean

    def _example_scores(self, state: TrainState, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the values that the score is the mean of, ``[replicas, values]``."""
        with self.options.default_dtype():
            outputs = self.network.outputs(state.parameters, state.constants, inputs)
        return self.network.learner.score_per_example(outputs, targets.expand(len(outputs), *targets.shape)).flatten(1)

    def _chunks(self, batch: Batch, replicas: int) -> Iterator[Batch]:
        """Split a batch, so that all replicas together take no more memory than an ordinary run."""
        rows = max(1, EVALUATION_VALUES // (max(1, replicas) * batch[0][0].numel()))
        return zip(*(torch.split(self.options.convert(tensor), rows) for tensor in batch), strict=True)


def _score_factor(data: TrainingData) -> float:
    """Return the factor from a score in scaled units to the score in the target's own unit."""
    return data.target_scale**2 if data.score_scale.score is keys.MSE else 1.0
