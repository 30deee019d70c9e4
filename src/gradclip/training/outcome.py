"""The outcome of a run: its final scores, and whether it learned, stalled, diverged or finished without a baseline."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gradclip import keys
from gradclip.data.score_scale import ScoreScale
from gradclip.formatting import counted
from gradclip.scores import ChoosingSplit, LoggedScore, Score, Split, choosing_split, judging_split
from gradclip.telemetry.divergence import Divergence
from gradclip.telemetry.record import GradientRecord

Curves = dict[Split, list[float]]  # score of each split, one value per epoch
Outcome = Literal["learned", "stalled", "diverged", "finished"]
NO_SCORE = "there is no score: the module logs no metric, and its steps return no loss"
LEARNED_FROM = 0.1  # smallest normalized score that counts as learned; saturated networks score just above chance


@dataclass(frozen=True)
class Summary:
    """The outcome, the scores and the gradient statistics of a finished run.

    Attributes:
        score: the score that was measured.
        outcome: ``learned``; ``stalled``, finite but hardly better than a guess that ignores the inputs; ``diverged``;
            or ``finished``, finite, if the score of such a guess is not known. It is judged on the validation examples,
            or on the training examples if there are none.
        solved: whether the best score reached the value at which the problem counts as solved; None without such a
            value.
        scores: the final score of each split; NaN if diverged.
        best_score: best finite score on the choosing split; NaN if there is none.
        best_epoch: epoch of the best score, counted from 1; 0 if there is none.
        clip_fraction: fraction of the steps in which clipping changed the gradient.
        skipped: number of skipped updates.
        norm_percentiles: 50th, 90th, 99th and 100th percentile of the gradient norm before clipping.
        divergence: step, epoch and place of the first non-finite number; None if the run did not diverge.
        steps: number of optimizer steps.
        notes: further remarks for the user, one sentence each.
    """

    score: Score
    outcome: Outcome
    solved: bool | None
    scores: Mapping[Split, float]
    best_score: float
    best_epoch: int
    clip_fraction: float
    skipped: int
    norm_percentiles: tuple[float, ...]
    divergence: Divergence | None
    steps: int
    notes: tuple[str, ...] = ()

    @property
    def choosing_split(self) -> ChoosingSplit:
        """The split that chooses: ``validation``, or ``test`` if there are no validation examples."""
        return choosing_split(self.scores)

    def metrics(self) -> dict[str, float]:
        """Return the metrics by their names in the store, without missing ones; final scores are NaN if diverged."""
        final = {self.score.final(split): value for split, value in self.scores.items()}
        others = {
            self.score.best(self.choosing_split): self.best_score,
            keys.BEST_EPOCH: float(self.best_epoch or np.nan),
            keys.GRAD_CLIP_FRACTION: self.clip_fraction,
            keys.GRAD_SKIP_COUNT: float(self.skipped),
            **dict(zip(keys.GRAD_NORM_PERCENTILES, self.norm_percentiles, strict=True)),
        }
        return final | {key: value for key, value in others.items() if np.isfinite(value)}

    def tags(self) -> dict[str, str]:
        """Return the tags: outcome, score of a user-defined module, solved or not, place of divergence."""
        tags: dict[str, str] = {keys.OUTCOME: self.outcome}
        if isinstance(self.score, LoggedScore):
            mode = "max" if self.score.higher_is_better else "min"
            tags |= {keys.SCORE: self.score.name, keys.SCORE_MODE: mode, keys.SCORE_SPLIT: self.score.split}
        if self.solved is not None:
            tags[keys.SOLVED] = str(self.solved).lower()
        if self.divergence is not None:
            step, epoch, place = str(self.divergence.step), str(self.divergence.epoch), self.divergence.place
            tags |= {keys.DIVERGED_STEP: step, keys.DIVERGED_EPOCH: epoch, keys.DIVERGED_IN: place}
        return tags


def summarize(record: GradientRecord, score_scale: ScoreScale, curves: Curves) -> Summary:
    """Judge a finished run.

    Args:
        record: the gradients of every step.
        score_scale: the score and its baseline.
        curves: the score of each split by epoch.
    """
    finals = {split: curve[-1] if curve else np.nan for split, curve in curves.items()}
    measured = _measured_curves(record, score_scale.score, curves)
    divergence = record.divergence or (_score_divergence(record, measured) if measured else None)
    choosing_curve = curves[choosing_split(curves)]
    best = score_scale.best_index(choosing_curve)
    best_score = np.nan if best is None else choosing_curve[best]
    return Summary(
        score=score_scale.score,
        outcome="diverged" if divergence else _finite_outcome(score_scale, finals),
        solved=score_scale.is_solved(best_score),
        scores=dict.fromkeys(finals, np.nan) if divergence else finals,
        best_score=best_score,
        best_epoch=0 if best is None else best + 1,
        clip_fraction=record.clip_fraction,
        skipped=int(record.skipped.sum()),
        norm_percentiles=(*record.norm_percentiles([50, 90, 99, 100]),),
        divergence=divergence,
        steps=len(record.step),
        notes=(*_notes(record), *([] if measured else [NO_SCORE])),
    )


def _finite_outcome(score_scale: ScoreScale, finals: Mapping[Split, float]) -> Outcome:
    if np.isnan(score_scale.baseline):
        return "finished"
    split = judging_split(finals)
    return "learned" if score_scale.normalized(finals[split], split) >= LEARNED_FROM else "stalled"


def _measured_curves(record: GradientRecord, score: Score, curves: Curves) -> list[list[float]]:
    """Return the curves that were measured: under manual optimization, a module need not return a loss."""
    if record.has_loss.any():
        return [*curves.values()]
    if score.by_epoch("test") == keys.LOSS_TRAIN:
        return []
    return [curve for split, curve in curves.items() if split != "train"]


def _score_divergence(record: GradientRecord, measured: Sequence[Sequence[float]]) -> Divergence | None:
    """Return the divergence at the end of the first epoch with a non-finite score, if the last epoch has one too.

    Outputs can overflow while all weights are finite. A run without a complete epoch counts as diverged in epoch 1.
    """
    is_nonfinite = ~np.isfinite(np.array(measured, dtype=float)).all(axis=0)
    if len(is_nonfinite) and not is_nonfinite[-1]:
        return None
    epoch = int(np.argmax(is_nonfinite)) + 1 if len(is_nonfinite) else 1
    last = record.step[record.epoch <= epoch]
    return Divergence(int(last[-1]) if len(last) else 0, epoch, "score")


def _notes(record: GradientRecord) -> Iterator[str]:
    """Yield remarks on gradients that were zero, skipped or not finite."""
    if zeroed := int(record.zeroed.sum()):
        first = int(record.step[np.argmax(record.zeroed)])
        gradients = counted(zeroed, "finite gradient was", "finite gradients were")
        yield f"{gradients} set to zero, first at step {first}, because the norm overflowed"
    if skipped := int(record.skipped.sum()):
        by_scaler = int(record.scaler_skipped.sum())
        cause = f", {by_scaler} of them by the loss scaler" if by_scaler else ""
        first = int(record.step[np.argmax(record.skipped)])
        yield f"{counted(skipped, 'update was', 'updates were')} skipped{cause}, first at step {first}"
    nonfinite_steps = int((record.nonfinite > 0).any(axis=1).sum())
    if nonfinite_steps and record.divergence is None:
        yield f"{counted(nonfinite_steps, 'step')} had a non-finite gradient"
    first_of_zeros = np.flatnonzero(record.norm != 0).max(initial=-1) + 1
    if first_of_zeros < len(record.step):
        yield f"every gradient is zero from step {record.step[first_of_zeros]} on: the network is dead or saturated"
