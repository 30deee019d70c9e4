"""The probe: short training runs that measure which remedies help after an explosion.

The probe is successive halving over stacked replicas in two rounds (Jamieson & Talwalkar 2016, "Non-stochastic best arm
identification and hyperparameter optimization"). The first round trains thresholds a factor of ten apart, and remedies
without clipping, for a few epochs. It drops candidates that diverge, and the worse half of the thresholds. The second
round trains the others, and thresholds between them, over three seeds and as long as the run itself, if that is short
enough. Training runs that cannot be stacked are too slow for this; there, one short run measures the norms. Read
:func:`run_probe` first.
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
from gradclip.diagnosis.probe_results import ORIGINAL_SETTINGS, ProbeResult
from gradclip.diagnosis.remedy import COSINE_DECAY, Remedy, clip_norm
from gradclip.diagnosis.suggestions import rounded
from gradclip.errors import ConfigError
from gradclip.formatting import counted, format_score
from gradclip.scores import MSE, stored_score
from gradclip.stacked.replicas import make_replicas
from gradclip.stacked.training import StackedTraining
from gradclip.sweep.stacking import refusal
from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, result_of
from gradclip.tracking.records import Store
from gradclip.tracking.stored_runs import StoredRun
from gradclip.training.components import choose_device

SHORT_EPOCHS = 5  # first round; a tenth of the run's epochs if that is more
MAX_STEPS = 2000  # per training, which takes seconds for a small network
FAR_BELOW = 0.01  # threshold of the run that measures norms, relative to the median norm before the explosion
DECADES = (1.0, 0.1, 0.01, 0.001, 0.0001)  # thresholds, relative to the median norm before the explosion
KEPT_OTHERS = 3  # unclipped candidates for the second round; one with a slow start may still end well
SEEDS = range(3)  # second round; the first round trains the first seed only


@dataclass(frozen=True)
class Candidate:
    """A remedy to try.

    Attributes:
        remedy: the remedy, with the settings that it changes.
        threshold: threshold of the clipping; NaN without clipping.
    """

    remedy: Remedy
    threshold: float = np.nan

    @property
    def clips(self) -> bool:
        """Whether the remedy clips."""
        return not isnan(self.threshold)


def epochs_of_rounds(epochs: int, steps_per_epoch: int) -> tuple[int, int]:
    """Return the number of epochs of the training runs in the first round, which is short, and in the second.

    Args:
        epochs: epochs of the run that is advised on.
        steps_per_epoch: optimizer steps of one of its epochs.

    Example:
        >>> epochs_of_rounds(100, 16), epochs_of_rounds(300, 100), epochs_of_rounds(3, 10)
        ((10, 100), (20, 20), (3, 3))
    """
    affordable = max(1, MAX_STEPS // steps_per_epoch)
    long = min(epochs, affordable)
    return min(long, max(SHORT_EPOCHS, epochs // 10)), long


def steps_per_epoch(config: TrainConfig) -> int:
    """Return the number of optimizer steps per epoch.

    This sets up stacked training, so that a network that cannot be stacked is refused before any training.

    Raises:
        StackingError: the training cannot be stacked.
    """
    one_epoch = config.model_copy(update={"trainer": config.trainer.model_copy(update={"max_epochs": 1})})
    return StackedTraining(make_replicas([one_epoch]), choose_device(one_epoch)).total_steps


def cannot_be_stacked(evidence: Evidence) -> str:
    """Return why training runs with the settings of a run cannot be stacked; an empty string if they can."""
    return refusal(compose_config(merge(evidence.training.command or (), ["clip=norm"])))


def candidates(evidence: Evidence) -> list[Candidate]:
    """Return the candidates of the first round."""
    norms, schedule = evidence.norms, evidence.training.schedule
    thresholds = [] if norms is None or evidence.norm_is_undone else [norms.p50 * decade for decade in DECADES]
    return [*_clipping(thresholds, schedule), *map(Candidate, plain_remedies(evidence))]


def _clipping(thresholds: Sequence[float], schedule: str) -> list[Candidate]:
    """Return candidates that clip the norm.

    A constant learning rate is replaced by one that decays, since steps of constant length do not converge.
    """
    found = []
    for threshold in thresholds:
        what, how = f"norm at {rounded(threshold)}", clip_norm(rounded(threshold))
        if schedule == "constant":
            what, how = f"{what}, with warm-up and cosine decay", how + COSINE_DECAY
        found.append(Candidate(Remedy(what, "", how), threshold))
    return found


def second_round(tried: Sequence[tuple[Candidate, ProbeResult]], schedule: str) -> list[Candidate]:
    """Return the candidates of the second round: the better half of the thresholds, new ones, and the best others."""
    ranked = sorted((pair for pair in tried if np.isfinite(pair[1].error)), key=lambda pair: pair[1].error)
    clipping = [one.threshold for one, _ in ranked if one.clips]
    kept = sorted(clipping[: -(-len(clipping) // 2)])
    below = [kept[0] / sqrt(10)] if kept else []  # longer training runs can use shorter steps
    between = [low * (high / low) ** part for low, high in pairwise(kept) for part in (0.25, 0.5, 0.75)]
    thresholds = sorted([*below, *kept, *between])
    return [*_clipping(thresholds, schedule), *[one for one, _ in ranked if not one.clips][:KEPT_OTHERS]]


def run_probe(evidence: Evidence, tracking: TrackingSettings, folder: Path, may_be_long: bool) -> Evidence:
    """Run a probe, and return its evidence with the results of all candidates.

    Args:
        evidence: evidence from the run that is advised on.
        tracking: where the training runs are stored.
        folder: folder of the multiruns.
        may_be_long: whether to train even if an epoch has many steps.

    Raises:
        ConfigError: the settings of the run are no longer valid or leave nothing to try, or an epoch has many steps.
        GradclipError: a training run failed.
    """
    if cannot_be_stacked(evidence):
        return _measure_norms(evidence, tracking, folder)
    results, run_id = _try_candidates(evidence, tracking, folder, may_be_long)
    return replace(read_evidence(run_id, tracking), probe_results=tuple(results))


def _measure_norms(evidence: Evidence, tracking: TrackingSettings, folder: Path) -> Evidence:
    """Train a short run that is clipped far below the norms of the run that is advised on, and return its evidence."""
    if evidence.norms is None:
        raise ConfigError("the run has no finite gradient above zero from which to choose a threshold for a probe")
    threshold = rounded(evidence.norms.p50 * FAR_BELOW)
    changes = ["clip=norm", f"clip.value={threshold}", f"trainer.max_epochs={SHORT_EPOCHS}"]
    settings = [merge(evidence.training.command or (), changes)]
    (run_id,) = train_settings(settings, SEEDS[:1], tracking, folder, keys.PROBE)
    return read_evidence(run_id, tracking)


def _try_candidates(
    evidence: Evidence, tracking: TrackingSettings, folder: Path, may_be_long: bool
) -> tuple[list[ProbeResult], str]:
    """Train the candidates in two rounds; return their results, and the id of the best run.

    The best run is a clipped run if there is one, because its norms are reported.
    """
    base = evidence.training.command or ()
    config = compose_config(base)
    steps = steps_per_epoch(config)
    if steps > MAX_STEPS and not may_be_long:
        raise ConfigError(f"an epoch has {steps:,} steps, which would take long; probe=true runs the probe anyway")
    short, long = epochs_of_rounds(config.trainer.max_epochs, steps)
    if not (first := candidates(evidence)):
        raise ConfigError("no step had a finite gradient above zero, and the run's settings leave nothing else to try")
    tried, runs = _train(first, base, SEEDS[:1], short, tracking, folder / "first")
    if chosen := second_round([*zip(first, tried, strict=True)], evidence.training.schedule):
        diverged = [result for result in tried if not np.isfinite(result.error)]
        if not evidence.needs_strong_clipping:
            chosen.append(Candidate(ORIGINAL_SETTINGS))
        tried, runs = _train(chosen, base, SEEDS, long, tracking, folder / "second")
        tried += diverged
    best = min(range(len(runs)), key=lambda index: (not tried[index].clips, tried[index].error))
    return tried, runs[best]


def _train(
    tried: Sequence[Candidate], base: Sequence[str], seeds: range, epochs: int, tracking: TrackingSettings, folder: Path
) -> tuple[list[ProbeResult], list[str]]:
    """Train candidates; return the result of each, and the id of its run with the first seed."""
    settings = [merge(base, [*one.remedy.changes, f"trainer.max_epochs={epochs}"]) for one in tried]
    run_ids = train_settings(settings, seeds, tracking, folder, keys.PROBE)
    asked = [ask(Store.of(tracking), Operations.read_run, run_id) for run_id in run_ids]
    runs = [result_of(one) for one in asked]
    of_each = [runs[start : start + len(seeds)] for start in range(0, len(runs), len(seeds))]
    results = [probe_result(one, its_runs, epochs) for one, its_runs in zip(tried, of_each, strict=True)]
    return results, run_ids[:: len(seeds)]


def probe_result(tried: Candidate, runs: Sequence[StoredRun], epochs: int) -> ProbeResult:
    """Return the result of a candidate, by the score on the examples that choose.

    Args:
        tried: the candidate.
        runs: its runs, one per seed.
        epochs: epochs of each run.
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
    trained = f"after {counted(epochs, 'epoch')}, mean of {counted(len(runs), 'seed')}"
    measured = f"{name} {mean} on the {split} rows {trained}"
    return ProbeResult(tried.remedy, tried.clips, errors, sum(run.outcome in ENDED_WELL for run in runs), measured)
