"""How a run ended."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from gradclip import keys
from gradclip.telemetry.record import Divergence, GradientRecord

Outcome = Literal["learned", "stalled", "diverged"]


@dataclass(frozen=True)
class Summary:
    """What is known at the end of a run.

    Attributes:
        outcome: ``learned``; ``stalled``, finite but no better than predicting the mean; or ``diverged``.
        mse_train: final mean squared error on the training rows, in the target's unit squared; NaN if diverged.
        mse_test: the same on the test rows.
        best_mse_test: lowest finite error on the test rows; NaN if there is none.
        best_epoch: when that was, counted from 1; 0 if there is none.
        clip_fraction: share of the steps in which clipping changed the gradient.
        norm_percentiles: 50th, 90th, 99th and 100th percentile of the gradient norm before clipping.
        divergence: where the first non-finite number stood.
        steps: optimizer steps taken.
        notes: what else deserves a word, one sentence each.
    """

    outcome: Outcome
    mse_train: float
    mse_test: float
    best_mse_test: float
    best_epoch: int
    clip_fraction: float
    norm_percentiles: tuple[float, float, float, float]
    divergence: Divergence | None
    steps: int
    notes: tuple[str, ...] = ()

    def metrics(self) -> dict[str, float]:
        """By the names they have in the store; what does not exist is left out, a diverged final error is NaN."""
        p50, p90, p99, largest = self.norm_percentiles
        final = {keys.FINAL_MSE_TRAIN: self.mse_train, keys.FINAL_MSE_TEST: self.mse_test}
        others = {
            keys.BEST_MSE_TEST: self.best_mse_test,
            keys.BEST_EPOCH: float(self.best_epoch or np.nan),
            keys.GRAD_CLIP_FRACTION: self.clip_fraction,
            keys.GRAD_NORM_P50: p50,
            keys.GRAD_NORM_P90: p90,
            keys.GRAD_NORM_P99: p99,
            keys.GRAD_NORM_MAX: largest,
        }
        return final | {key: value for key, value in others.items() if np.isfinite(value)}

    def tags(self) -> dict[str, str]:
        """The outcome, and where a diverged run broke."""
        if self.divergence is None:
            return {keys.OUTCOME: self.outcome}
        where = asdict(self.divergence)
        names = {keys.DIVERGED_STEP: "step", keys.DIVERGED_EPOCH: "epoch", keys.DIVERGED_IN: "place"}
        return {keys.OUTCOME: self.outcome} | {tag: str(where[field]) for tag, field in names.items()}


def summarize(record: GradientRecord, mse_train: list[float], mse_test: list[float], target_variance: float) -> Summary:
    """Judge a finished run.

    Args:
        record: the gradients of every step.
        mse_train: mean squared error on the training rows, one for each epoch, in the target's unit squared.
        mse_test: the same on the test rows.
        target_variance: mean squared error of always predicting the mean, on the training rows.
    """
    finals = (mse_train[-1], mse_test[-1]) if mse_train else (np.nan, np.nan)
    diverged = record.divergence is not None or not np.isfinite(finals).all()
    finite = [error if np.isfinite(error) else np.inf for error in mse_test]
    best = int(np.argmin(finite)) if finite and min(finite) < np.inf else None
    return Summary(
        outcome="diverged" if diverged else "stalled" if finals[0] >= target_variance else "learned",
        mse_train=np.nan if diverged else finals[0],
        mse_test=np.nan if diverged else finals[1],
        best_mse_test=np.nan if best is None else mse_test[best],
        best_epoch=0 if best is None else best + 1,
        clip_fraction=record.clip_fraction,
        norm_percentiles=(
            record.norm_percentile(50),
            record.norm_percentile(90),
            record.norm_percentile(99),
            record.norm_percentile(100),
        ),
        divergence=record.divergence,
        steps=len(record.step),
        notes=tuple(_notes(record)),
    )


def _notes(record: GradientRecord) -> Iterator[str]:
    """What can be read from the gradients beside their size."""
    if zeroed := int(record.zeroed.sum()):
        first = int(record.step[np.argmax(record.zeroed)])
        yield f"{zeroed} finite gradients were made zero, first at step {first}: left out, or their norm overflowed"
    unhealthy = int(np.any(record.nonfinite > 0, axis=1).sum())
    if unhealthy and record.divergence is None:
        yield f"{unhealthy} steps had a gradient that was not finite"
    alive = np.flatnonzero(record.norm != 0)
    if len(record.step) and (not alive.size or alive[-1] < len(record.step) - 1):
        since = int(record.step[alive[-1] + 1 if alive.size else 0])
        yield f"every gradient is zero from step {since} on: the network is dead or saturated"
