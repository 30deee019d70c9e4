"""The probe: trainings that measure what helps after an explosion, where rules of thumb would guess.

Successive halving over stacked replicas, in two rounds (Jamieson & Talwalkar 2016, "Non-stochastic best arm
identification and hyperparameter optimization"). The first trains thresholds a factor of ten apart, and what does
without clipping, for a few epochs; what diverges is dropped, and the worse half of the thresholds. The second trains
what is left, and thresholds between those, over three seeds and as long as the run itself, if that is short enough.
Trainings that cannot be stacked are too slow for that: one short run measures the norms. Read :func:`run_probe` first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isnan, sqrt
from pathlib import Path

import numpy as np

from gradclip import keys
from gradclip.advise.arms import plain_remedies
from gradclip.advise.evidence import read_evidence
from gradclip.advise.training import train_settings
from gradclip.config.composition import compose_config
from gradclip.config.overrides import merge
from gradclip.config.schema import TrainConfig
from gradclip.config.tracking import TrackingSettings
from gradclip.diagnosis.evidence import ENDED_WELL, Evidence
from gradclip.diagnosis.probe_results import AS_IT_WAS, ProbeResult
from gradclip.diagnosis.remedy import Remedy, clip_norm, decay_rate
from gradclip.diagnosis.suggestions import needs_strong_clipping, norm_is_undone, rounded
from gradclip.errors import ConfigError
from gradclip.formatting import format_score
from gradclip.scores import MSE, stored_score
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
FAR_BELOW = 0.01  # threshold of the run that measures norms, times the median norm before the explosion
DECADES = (1.0, 0.1, 0.01, 0.001, 0.0001)  # thresholds, times the median norm before the explosion
KEPT_OTHERS = 3  # of what does without clipping: they are stacked, and a slow start may end well
SEEDS = range(3)  # of the second round; the first has the first of them


@dataclass(frozen=True)
class Candidate:
    """Something to try.

    Attributes:
        remedy: with the settings that it changes.
        threshold: of clipping; NaN without.
    """

    remedy: Remedy
    threshold: float = np.nan

    @property
    def clips(self) -> bool:
        """Whether it clips."""
        return not isnan(self.threshold)


@dataclass(frozen=True)
class Lengths:
    """How long the trainings of the two rounds are, in epochs."""

    short: int
    long: int


def lengths(epochs: int, steps_per_epoch: int) -> Lengths:
    """Return how long the trainings of both rounds are.

    Args:
        epochs: of the run that is advised on.
        steps_per_epoch: optimizer steps of one of its epochs.

    Example:
        >>> lengths(100, 16), lengths(300, 100), lengths(3, 10)
        (Lengths(short=10, long=100), Lengths(short=20, long=20), Lengths(short=3, long=3))
    """
    affordable = max(1, MAX_STEPS // steps_per_epoch)
    long = min(epochs, affordable)
    return Lengths(min(long, max(SHORT_EPOCHS, epochs // 10)), long)


def steps_per_epoch(config: TrainConfig) -> int:
    """Return the optimizer steps of an epoch.

    A training is set up for it, so that a network which cannot be stacked is refused before any is trained.

    Raises:
        StackingError: it cannot.
    """
    one_epoch = config.model_copy(update={"trainer": config.trainer.model_copy(update={"max_epochs": 1})})
    return StackedTraining(make_replicas([one_epoch]), choose_device(one_epoch)).total_steps


def cannot_be_stacked(evidence: Evidence) -> str:
    """Return why trainings like a run cannot be stacked; nothing if they can."""
    return refusal(compose_config(merge(evidence.training.command or (), ["clip=norm"])))


def candidates(evidence: Evidence) -> list[Candidate]:
    """Return what the first round tries."""
    norms, schedule = evidence.norms, evidence.training.schedule
    thresholds = [] if norms is None or norm_is_undone(evidence) else [norms.p50 * decade for decade in DECADES]
    return [*_clipping(thresholds, schedule), *map(Candidate, plain_remedies(evidence))]


def _clipping(thresholds: Sequence[float], schedule: str) -> list[Candidate]:
    """Clipping, with a decaying rate where the run's is constant: steps of constant length converge only so."""
    found = []
    for threshold in thresholds:
        what, how = f"norm at {rounded(threshold)}", clip_norm(rounded(threshold))
        if schedule == "constant":
            what, how = f"{what}, with learning rate decay", how + decay_rate()
        found.append(Candidate(Remedy(what, "", how), threshold))
    return found


def second_round(tried: Sequence[tuple[Candidate, ProbeResult]], schedule: str) -> list[Candidate]:
    """Return what the second round tries: the better half of what clips, with more thresholds, and the best others.

    Args:
        tried: the candidates of the first round, and how they ended.
        schedule: of the learning rate of the run.
    """
    ranked = sorted((pair for pair in tried if np.isfinite(pair[1].error)), key=lambda pair: pair[1].error)
    clipping = [one.threshold for one, _ in ranked if one.clips]
    kept = sorted(clipping[: -(-len(clipping) // 2)])
    below = [kept[0] / sqrt(10)] if kept else []  # longer trainings can do with shorter steps
    between = [low * (high / low) ** part for low, high in pairwise(kept) for part in (0.25, 0.5, 0.75)]
    thresholds = sorted([*below, *kept, *between])
    return [*_clipping(thresholds, schedule), *[one for one, _ in ranked if not one.clips][:KEPT_OTHERS]]


def run_probe(evidence: Evidence, tracking: TrackingSettings, folder: Path, may_be_long: bool) -> Evidence:
    """Return the evidence of a probe, with what it has tried.

    Args:
        evidence: of the run that is advised on.
        tracking: where the trainings are stored.
        folder: where their multiruns are written.
        may_be_long: whether an epoch may have many steps.

    Raises:
        ConfigError: the settings of the run do not compose any more, leave nothing to try, or an epoch has many steps.
        GradclipError: a training failed.
    """
    if cannot_be_stacked(evidence):
        return measure_norms(evidence, tracking, folder)
    results, run_id = try_candidates(evidence, tracking, folder, may_be_long)
    return replace(read_evidence(run_id, tracking), probe_results=tuple(results))


def measure_norms(evidence: Evidence, tracking: TrackingSettings, folder: Path) -> Evidence:
    """Return the evidence of a short run that is clipped far below the norms of the run that is advised on.

    Args:
        evidence: of the run that is advised on.
        tracking: where the short run is stored.
        folder: of its multirun.

    Raises:
        ConfigError: that run has no finite gradient.
    """
    if evidence.norms is None:
        raise ConfigError("the run has no finite gradient, so that no threshold can be set for a probe")
    threshold = rounded(evidence.norms.p50 * FAR_BELOW)
    changes = ["clip=norm", f"clip.value={threshold}", f"trainer.max_epochs={SHORT_EPOCHS}"]
    settings = [merge(evidence.training.command or (), changes)]
    (run_id,) = train_settings(settings, SEEDS[:1], tracking, folder, keys.PROBE)
    return read_evidence(run_id, tracking)


def try_candidates(
    evidence: Evidence, tracking: TrackingSettings, folder: Path, may_be_long: bool
) -> tuple[list[ProbeResult], str]:
    """Train the candidates in two rounds; return how each ended, and the best clipped run, whose norms are reported.

    Args:
        evidence: of the run that is advised on.
        tracking: where the trainings are stored.
        folder: where the multiruns of both rounds are written.
        may_be_long: whether an epoch may have many steps.

    Raises:
        ConfigError: as :func:`run_probe`.
    """
    base = evidence.training.command or ()
    config = compose_config(base)
    steps = steps_per_epoch(config)
    if steps > MAX_STEPS and not may_be_long:
        raise ConfigError(f"an epoch has {steps:,} steps, which takes long; probe=true trains all the same")
    long, schedule = lengths(config.trainer.max_epochs, steps), evidence.training.schedule
    if not (first := candidates(evidence)):
        raise ConfigError("no step had a finite gradient, and the run's settings leave nothing else to try")
    tried, runs = _train(first, base, SEEDS[:1], long.short, tracking, folder / "first")
    if chosen := second_round([*zip(first, tried, strict=True)], schedule):
        diverged = [result for result in tried if not np.isfinite(result.error)]
        if not needs_strong_clipping(evidence):
            chosen.append(Candidate(AS_IT_WAS))
        tried, runs = _train(chosen, base, SEEDS, long.long, tracking, folder / "second")
        tried += diverged
    best = min(range(len(runs)), key=lambda index: (not tried[index].clips, tried[index].error))
    return tried, runs[best]


def _train(
    chosen: Sequence[Candidate],
    base: Sequence[str],
    seeds: range,
    epochs: int,
    tracking: TrackingSettings,
    folder: Path,
) -> tuple[list[ProbeResult], list[str]]:
    """Train all candidates, and return how each ended, and the run of its first seed.

    Args:
        chosen: the candidates.
        base: the overrides of the run that is advised on.
        seeds: of each.
        epochs: of each training.
        tracking: where the trainings are stored.
        folder: of the multirun.
    """
    settings = [merge(base, [*one.remedy.changes, f"trainer.max_epochs={epochs}"]) for one in chosen]
    run_ids = train_settings(settings, seeds, tracking, folder, keys.PROBE)
    asked = [ask(Store.of(tracking), Operations.read_run, run_id) for run_id in run_ids]
    runs = [result_of(one) for one in asked]
    of_each = [runs[start : start + len(seeds)] for start in range(0, len(runs), len(seeds))]
    results = [probe_result(one, its_runs, epochs) for one, its_runs in zip(chosen, of_each, strict=True)]
    return results, run_ids[:: len(seeds)]


def probe_result(tried: Candidate, runs: Sequence[StoredRun], epochs: int) -> ProbeResult:
    """Return how a candidate ended, by the score on the examples that choose.

    Args:
        tried: the candidate.
        runs: one for each seed.
        epochs: of each.
    """
    scores = [stored_score(run.metrics, run.tags) for run in runs]
    score = next(filter(None, scores), None)
    if score is None:
        return ProbeResult(tried.remedy, tried.clips, (np.inf,) * len(runs), 0, "no score")
    split = score.choosing_split(runs[0].metrics)
    values = [run.metrics.get(score.final(split), np.nan) for run in runs]
    errors = tuple(np.where(np.isfinite(values), [score.error(value) for value in values], np.inf).tolist())
    mean = format_score(score.name, score.value(float(np.mean(errors))))
    name = score.name.upper() if score == MSE else score.name
    measured = f"{name} {mean} on the {split} rows after {epochs} epochs, mean of {len(runs)} seeds"
    return ProbeResult(tried.remedy, tried.clips, errors, sum(run.outcome in ENDED_WELL for run in runs), measured)
