"""Questions that a log, or the telemetry of a run, leaves open, each with the data that would answer it."""

from math import isnan

import numpy as np

from gradclip.diagnosis.evidence import ENDED_WELL, Evidence
from gradclip.diagnosis.log import STEP, UPDATE_RATIO
from gradclip.diagnosis.suggestions import are_clipped_already


def unknown(evidence: Evidence) -> list[str]:
    """Return the questions that a log leaves open, each with the data that would answer it."""
    log, training = evidence.log, evidence.training
    interval = float(np.median(np.diff(log[STEP]))) if len(log) > 1 else 1.0
    exceed_threshold = bool(np.any(evidence.finite_norms > training.threshold))
    is_clear = log.is_before_clipping or exceed_threshold or are_clipped_already(evidence)
    gaps = [
        (interval > 1, f"whether norms spike between the logged steps: only one step in {interval:g} was logged"),
        (not is_clear, "whether these norms were measured before clipping: the log does not show it"),
        (isnan(evidence.clip_fraction), "how much was clipped: needs the threshold, or the norms after clipping"),
        (not training.optimizer, "whether the optimizer undoes the clipping: needs the name of the optimizer"),
        (
            not log.tensors(UPDATE_RATIO),
            "how long the steps are: needs the norms of updates and weights, which GradientMonitor records",
        ),
        (
            not evidence.tensors,
            "which tensor the norm comes from: needs the norm of each tensor, in columns grad_norm/<tensor>",
        ),
        (
            isnan(evidence.learning_rate),
            "which learning rate would have the same effect as clipping: needs the learning rate of the training",
        ),
    ]
    return [what for is_missing, what in gaps if is_missing]


def unknown_of_run(evidence: Evidence) -> list[str]:
    """Return the questions that the telemetry and the score of a run of our command leave open."""
    training = evidence.training
    gaps = [
        (
            isnan(training.final_to_best_ratio) and training.outcome in ENDED_WELL,
            "whether the run overfits or is unstable at its end: needs an error or the accuracy as its score",
        ),
        (isnan(evidence.target_max_abs) and "model" in training.fixed_groups, "whether the target should be scaled"),
    ]
    return [what for is_missing, what in gaps if is_missing]
