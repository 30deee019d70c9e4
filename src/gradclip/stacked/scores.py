"""Score replicas on training and test examples, as an ordinary run does at the end of an epoch."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gradclip import keys
from gradclip.data.base import TrainingData
from gradclip.data.loaders import EVALUATION_VALUES
from gradclip.stacked.batches import Batch, StackedEvaluation
from gradclip.stacked.network import StackedNetwork
from gradclip.stacked.state import Placement, State


class StackedScores:
    """The curves of all replicas.

    Args:
        datas: the data of each replica.
        network: of all replicas.
        placement: where they are.
    """

    def __init__(self, datas: Sequence[TrainingData], network: StackedNetwork, placement: Placement) -> None:
        self.network, self.placement = network, placement
        self.evaluation = StackedEvaluation(datas)
        self.units = torch.tensor([_unit(data) for data in datas], dtype=torch.float64)
        self.curves: list[tuple[list[float], list[float]]] = [([], []) for _ in datas]

    @torch.no_grad()
    def add(self, state: State, epoch: int) -> None:
        """Add a point to the curves of some replicas, of an epoch counted from 0."""
        self.network.learner.eval()
        for part in (0, 1):
            scores = self._mean(state, part, epoch).mul(self.units).tolist()
            for replica in state.ids.tolist():
                self.curves[replica][part].append(scores[replica])
        self.network.learner.train()

    def _mean(self, state: State, part: int, epoch: int) -> Tensor:
        """The score on training (0) or test (1) examples in the scaled unit; NaN of replicas that are not asked for."""
        sums, counts = torch.zeros(2, len(self.units), dtype=torch.float64)
        for replicas, batch in self.evaluation.batches(part, epoch):
            some = state.of(replicas)
            for inputs, target in self._chunks(batch, len(some.ids)):
                scored = self._scored(some, inputs, target)
                sums[some.ids] += scored.sum(dim=1, dtype=torch.float64).cpu()
                counts[some.ids] += scored.shape[1]
        mean: Tensor = sums / counts
        return mean

    def _scored(self, state: State, inputs: Tensor, target: Tensor) -> Tensor:
        """What the score is the mean of, ``[replicas, values]``."""
        with self.placement.precision():
            outputs = self.network.outputs(state.parameters, state.tensors["constants"], inputs)
        return self.network.learner.score_per_example(outputs, target.expand(len(outputs), *target.shape)).flatten(1)

    def _chunks(self, batch: Batch, replicas: int) -> Iterator[Batch]:
        """So many rows at a time that all replicas together take no more memory than an ordinary run."""
        rows = max(1, EVALUATION_VALUES // (max(1, replicas) * batch[0][0].numel()))
        return zip(*(torch.split(self.placement.put(tensor), rows) for tensor in batch), strict=True)


def _unit(data: TrainingData) -> float:
    """What a score in the scaled unit is multiplied by."""
    return data.target_scale**2 if data.score_scale.score is keys.MSE else 1.0
