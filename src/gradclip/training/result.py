"""The result of a training run, alone or stacked with others."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from torch import nn

from gradclip.config.schema import Parts
from gradclip.data.base import TrainingData
from gradclip.data.score_scale import ScoreScale
from gradclip.diagnosis.explosion import Explosion, explain, finite_explosion
from gradclip.diagnosis.suggestions import BOUNDED_LOSS
from gradclip.formatting import counted
from gradclip.telemetry.hidden_states import HiddenStateRecord
from gradclip.telemetry.record import GradientRecord
from gradclip.tracking.run import TrackedRun
from gradclip.training.outcome import Curves, Summary, summarize
from gradclip.training.own_data import OwnData

BOUNDED_LOSSES = (nn.HuberLoss, nn.L1Loss)


@dataclass(frozen=True)
class Result:
    """The trained network, the records of the training run, and the score by which the run is judged.

    Attributes:
        data: the data of the training run.
        score_scale: the score by which the run is judged.
        make_network: returns the network with its final weights; called only if the network is needed.
        network_arguments: arguments of :func:`gradclip.models.build.build_network` that rebuild the network; None for a
            user-defined module.
        record: the gradients of every step.
        curves: the score of each split, one value per epoch.
        hidden: gradient norms at the hidden states; None without a recurrent layer.
        learning_rate: the initial learning rate.
        accumulated: number of batches per optimizer step.
        loss_is_bounded: whether the loss has a bounded derivative.
        clip_fraction: fraction of the steps that were clipped; None if the record has it.
        run: the run in the store; None if it is not tracked.
    """

    data: TrainingData
    score_scale: ScoreScale
    make_network: Callable[[], nn.Module]
    network_arguments: dict[str, Any] | None
    record: GradientRecord
    curves: Curves
    hidden: HiddenStateRecord | None
    learning_rate: float
    accumulated: int
    loss_is_bounded: bool
    clip_fraction: float | None = None
    run: TrackedRun | None = None

    @cached_property
    def network(self) -> nn.Module:
        """The network with its final weights."""
        return self.make_network()

    @cached_property
    def summary(self) -> Summary:
        """The summary of the run, with its outcome and scores."""
        summary = summarize(self.record, self.score_scale, self.curves)
        summary = replace(summary, notes=(*self.data.notes, *summary.notes))
        return summary if self.clip_fraction is None else replace(summary, clip_fraction=self.clip_fraction)

    @property
    def clipped_steps(self) -> str:
        """The clip fraction and the steps that it counts, such as ``59% of 17 steps with a finite gradient``.

        Clipping during backward counts all steps.
        """
        steps = len(self.record.step)
        finite = steps if self.clip_fraction is not None else int(np.isfinite(self.record.norm).sum())
        which = "" if finite == steps else " with a finite gradient"
        return f"{self.summary.clip_fraction:.0%} of {counted(finite, 'step')}{which}"

    @cached_property
    def explosion(self) -> Explosion | None:
        """The explosion report, with the rows of the step's batches; None if the run did not explode.

        A run that stalled after a finite explosion has a report too.
        """
        is_ours = self.network_arguments is not None  # we do not know the learning rate of a user-defined module
        finite = finite_explosion(self.record) if self.summary.outcome == "stalled" else None
        explosion = explain(self.record, self.learning_rate if is_ours else float("nan"), finite, loop="command")
        if explosion is None:
            return None
        epoch, last = explosion.divergence.epoch, explosion.batch
        batches = range(last // self.accumulated * self.accumulated, last + 1)
        rows = tuple(row for batch in batches for row in self.data.batch_indices(epoch, batch))
        fixed = [] if is_ours else [*Parts._fields]
        fixed += ["data"] if isinstance(self.data, OwnData) else []
        remedies = [
            one
            for one in explosion.remedies
            if not one.changes_any(fixed) and not (self.loss_is_bounded and one == BOUNDED_LOSS)
        ]
        return replace(explosion, rows=rows, remedies=remedies)
