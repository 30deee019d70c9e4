"""The probe: trainings that measure what helps after an explosion, where rules of thumb would guess.

Successive halving (Jamieson & Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization")
over stacked replicas, in two rounds. The first trains thresholds a factor of ten apart, and what does without clipping,
for a few epochs; what diverges is dropped, and the worse half of the rest. The second trains what is left, and thresholds
between those that are left, over three seeds and as long as the run itself, if that is short enough. Read :func:`measure` first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isnan, sqrt
from pathlib import Path

import numpy as np

from gradclip import keys
from gradclip.advise.training import train_settings
from gradclip.config.composition import compose_config
from gradclip.config.overrides import merge
from gradclip.config.schema import TrainConfig
from gradclip.config.tracking import TrackingSettings
from gradclip.diagnosis import remedy
from gradclip.diagnosis.evidence import ENDED_WELL, Evidence
from gradclip.diagnosis.remedy import Remedy
from gradclip.diagnosis.suggestions import can_scale_target, norm_is_undone, rounded, scaled_target, unclipped
from gradclip.diagnosis.trials import Kind, Trial
from gradclip.errors import ConfigError
from gradclip.formatting import format_score
from gradclip.stacked.replicas import make_replicas
from gradclip.stacked.training import StackedTraining
from gradclip.sweep.stacking import refusal
from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, result_of
from gradclip.tracking.records import Store
from gradclip.tracking.stored_runs import StoredRun
from gradclip.training.components import choose_device

SHORT_EPOCHS = 5  # of the first round, or a tenth of the run's own
MAX_STEPS = 2000  # of a training: seconds for a small network, and what the tutorial's takes
DECADES = (1.0, 0.1, 0.01, 0.001, 0.0001)  # thresholds, times the median norm before the explosion
SEEDS = range(3)  # of the second round; the first has the first of them
RATES = (0.1, 0.01)


@dataclass(frozen=True)
class Arm:
    """Something to try.

    Attributes:
        kind: of remedy.
        remedy: with the settings that it changes.
        threshold: of clipping; NaN without.
    """

    kind: Kind
    remedy: Remedy
    threshold: float = np.nan


@dataclass(frozen=True)
class Lengths:
    """How long the trainings of the two rounds are, in epochs."""

    short: int
    long: int


def lengths(epochs: int, steps_per_epoch: int) -> Lengths:
    """Return how long the trainings of both rounds are.

    Args:
        epochs: of the run that exploded.
        steps_per_epoch: optimizer steps of one of its epochs.

    Example:
        >>> lengths(100, 16), lengths(300, 100), lengths(3, 10)
        (Lengths(short=10, long=100), Lengths(short=20, long=20), Lengths(short=3, long=3))
    """
    affordable = max(1, MAX_STEPS // steps_per_epoch)
    long = min(epochs, affordable)
    return Lengths(min(long, max(SHORT_EPOCHS, epochs // 10)), long)


def steps_per_epoch(config: TrainConfig) -> int:
    """Return the optimizer steps of an epoch; the data are read for it."""
    one_epoch = config.model_copy(update={"trainer": config.trainer.model_copy(update={"max_epochs": 1})})
    return StackedTraining(make_replicas([one_epoch]), choose_device(one_epoch)).total_steps


def cannot_be_stacked(evidence: Evidence) -> str:
    """Return why trainings like a run cannot be stacked; nothing if they can."""
    return refusal(compose_config(merge(evidence.training.command or (), ["clip=norm"])))


def arms(evidence: Evidence) -> list[Arm]:
    """Return what the first round tries."""
    training, norms = evidence.training, evidence.norms
    thresholds = [] if norms is None or norm_is_undone(evidence) else [norms.p50 * decade for decade in DECADES]
    others: list[Arm] = []
    if can_scale_target(evidence):
        scaled = unclipped(scaled_target(evidence.target_max_abs))
        slower = Remedy(f"{scaled.what}, a tenth of the rate", "", scaled.how + _rate(evidence, RATES[0]))
        others += [Arm("scaled target", scaled), Arm("scaled target", slower)]
    if not isnan(evidence.learning_rate):
        slower_rates = [
            unclipped(Remedy(f"learning rate times {factor:g}", "", _rate(evidence, factor))) for factor in RATES
        ]
        others += [Arm("smaller learning rate", slower) for slower in slower_rates]
    if training.optimizer == "sgd":
        others.append(Arm("another optimizer", unclipped(Remedy("Adam at its usual rate", "", remedy.adam()))))
    return [*_clipping(thresholds, training.schedule), *(_decaying(arm, training.schedule) for arm in others)]


def _rate(evidence: Evidence, factor: float) -> remedy.How:
    return remedy.learning_rate(rounded(evidence.learning_rate * factor))


def _clipping(thresholds: Sequence[float], schedule: str) -> Iterator[Arm]:
    for threshold in thresholds:
        arm = Arm(
            "clipping", Remedy(f"norm at {rounded(threshold)}", "", remedy.clip_norm(rounded(threshold))), threshold
        )
        yield _decaying(arm, schedule)


def _decaying(arm: Arm, schedule: str) -> Arm:
    """With a decaying rate where the run's is constant: without it nothing that is noisy converges."""
    if schedule != "constant":
        return arm
    decaying = replace(arm.remedy, what=f"{arm.remedy.what}, rate decaying", how=arm.remedy.how + remedy.decay_rate())
    return replace(arm, remedy=decaying)


def second_round(tried: Sequence[tuple[Arm, Trial]], schedule: str) -> list[Arm]:
    """Return what the second round tries: the better half of what clips, with thresholds between, and of the others.

    Args:
        tried: the arms of the first round, and how they ended.
        schedule: of the learning rate of the run.
    """
    ranked = sorted((pair for pair in tried if np.isfinite(pair[1].error)), key=lambda pair: pair[1].error)
    clipping = [arm for arm, _ in ranked if arm.kind == "clipping"]
    others = [arm for arm, _ in ranked if arm.kind != "clipping"]
    kept = sorted(arm.threshold for arm in _better_half(clipping))
    between = [sqrt(low * high) for low, high in pairwise(kept)]
    return [*_clipping(sorted([*kept, *between]), schedule), *_better_half(others)]


def _better_half(ranked: list[Arm]) -> list[Arm]:
    return ranked[: -(-len(ranked) // 2)]


def measure(
    evidence: Evidence, tracking: TrackingSettings, folder: Path, is_asked_for: bool
) -> tuple[list[Trial], str]:
    """Try what may help, and return it with what was measured, and the best clipped run, whose norms are reported.

    Args:
        evidence: of the run that exploded.
        tracking: where the trainings are stored.
        folder: where the multiruns of both rounds are written.
        is_asked_for: whether it may take long.

    Raises:
        ConfigError: the settings of the run do not compose any more, or an epoch has many steps.
        StackingError: trainings like the run cannot be stacked.
    """
    base = evidence.training.command or ()
    config = compose_config(base)
    steps = steps_per_epoch(config)
    if steps > MAX_STEPS and not is_asked_for:
        raise ConfigError(f"an epoch has {steps:,} steps, which takes long; probe=true trains all the same")
    long, schedule = lengths(config.trainer.max_epochs, steps), evidence.training.schedule
    first = arms(evidence)
    tried, runs = _train(first, base, SEEDS[:1], long.short, tracking, folder / "first")
    if chosen := second_round([*zip(first, tried, strict=True)], schedule):
        diverged = [trial for trial in tried if not np.isfinite(trial.error)]
        tried, runs = _train(chosen, base, SEEDS, long.long, tracking, folder / "second")
        tried += diverged
    best = min(range(len(runs)), key=lambda index: (tried[index].kind != "clipping", tried[index].error))
    return tried, runs[best]


def _train(
    chosen: Sequence[Arm], base: Sequence[str], seeds: range, epochs: int, tracking: TrackingSettings, folder: Path
) -> tuple[list[Trial], list[str]]:
    """Train all arms, and return how each ended and the run of its first seed."""
    settings = [merge(base, [*arm.remedy.changes, f"trainer.max_epochs={epochs}"]) for arm in chosen]
    run_ids = train_settings(settings, seeds, tracking, folder, keys.PROBE)
    asked = [ask(Store.of(tracking), Operations.read_run, run_id) for run_id in run_ids]
    runs = [result_of(one) for one in asked]
    count = len(seeds)
    trials = [trial_of(arm, runs[count * index : count * (index + 1)], epochs) for index, arm in enumerate(chosen)]
    return trials, run_ids[::count]


def trial_of(arm: Arm, runs: Sequence[StoredRun], epochs: int) -> Trial:
    """Return how an arm ended, by the score on the examples that choose.

    Args:
        arm: that was tried.
        runs: one for each seed.
        epochs: of each.
    """
    scores = [keys.stored_score(run.metrics, run.tags) for run in runs]
    score = next(filter(None, scores), None)
    if score is None:
        return Trial(arm.kind, arm.remedy, (np.inf,) * len(runs), 0, "no score")
    split = score.choosing_split(runs[0].metrics)
    values = [run.metrics.get(score.final(split), np.nan) for run in runs]
    errors = tuple(np.where(np.isfinite(values), [score.error(value) for value in values], np.inf).tolist())
    middle = format_score(score.name, score.value(float(np.median(errors))))
    name = score.name.upper() if score == keys.MSE else score.name
    measured = f"{name} {middle} on the {split} rows after {epochs} epochs, median of {len(runs)} seeds"
    return Trial(arm.kind, arm.remedy, errors, sum(run.outcome in ENDED_WELL for run in runs), measured)
