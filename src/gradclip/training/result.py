"""What a training leaves behind, whoever ran it."""

from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from gradclip.data.base import TrainingData
from gradclip.diagnosis.explosion import BOUNDED_LOSS, Explosion, explain
from gradclip.telemetry.hidden_states import HiddenStateRecord
from gradclip.telemetry.record import GradientRecord
from gradclip.training.outcome import Summary, summarize

BOUNDED_LOSSES = (nn.HuberLoss, nn.L1Loss)


@dataclass(frozen=True)
class Trained:
    """A network after its training, and all that was recorded on the way.

    Attributes:
        data: what it was trained on.
        network: with its final weights.
        description: how to build the network again, the arguments of :func:`gradclip.models.build.build_network`.
        record: the gradients of every step.
        curves: the score on the training and on the test examples, one for each epoch.
        hidden: how gradients fared on their way back through time; None without a recurrent layer.
        learning_rate: the rate at the start.
        accumulated: batches that make an optimizer step.
        loss_is_bounded: whether the loss has a derivative that is bounded.
        clip_fraction: share of the steps that were clipped; None where the record says it.
    """

    data: TrainingData
    network: nn.Module
    description: dict[str, Any]
    record: GradientRecord
    curves: tuple[list[float], list[float]]
    hidden: HiddenStateRecord | None
    learning_rate: float
    accumulated: int
    loss_is_bounded: bool
    clip_fraction: float | None = None

    def summary(self) -> Summary:
        """Judge the run."""
        summary = summarize(self.record, self.data.score_scale, *self.curves)
        return summary if self.clip_fraction is None else replace(summary, clip_fraction=self.clip_fraction)

    def explosion(self) -> Explosion | None:
        """Explain a run that exploded, down to the rows of the step's batches."""
        explosion = explain(self.record, self.learning_rate)
        if explosion is None:
            return None
        epoch, last = explosion.divergence.epoch, explosion.batch
        batches = range(last // self.accumulated * self.accumulated, last + 1)
        rows = tuple(row for batch in batches for row in self.data.batch_indices(epoch, batch))
        cures = [cure for cure in explosion.cures if not (self.loss_is_bounded and cure.overrides == BOUNDED_LOSS)]
        return replace(explosion, rows=rows, cures=cures)
