"""What a log, or the telemetry of a run, cannot tell, and what would have to be known for it."""

from math import isnan

import numpy as np

from gradclip.diagnosis.evidence import ENDED_WELL, Evidence
from gradclip.diagnosis.log import STEP, UPDATE_RATIO
from gradclip.diagnosis.suggestions import are_clipped_already


def unknown(evidence: Evidence) -> list[str]:
    """Return what the log cannot tell, and what would have to be known for it."""
    log, training = evidence.log, evidence.training
    interval = float(np.median(np.diff(log[STEP]))) if len(log) > 1 else 1.0
    exceed_threshold = bool(np.any(evidence.finite_norms > training.threshold))
    is_clear = log.is_before_clipping or exceed_threshold or are_clipped_already(evidence)
    gaps = [
        (interval > 1, f"whether norms between the logged steps spike: only every {interval:g}th step was logged"),
        (not is_clear, "whether these norms are from before clipping: nothing shows it"),
        (isnan(evidence.clip_fraction), "how much was clipped: needs the threshold, or norms after clipping"),
        (not training.optimizer, "whether the optimizer undoes the clipping: needs the name of the optimizer"),
        (
            not log.tensors(UPDATE_RATIO),
            "how long steps are: needs updates and weights, as GradientMonitor has them",
        ),
        (not evidence.tensors, "which tensor the norm comes from: needs the norm of each, as grad_norm/<tensor>"),
        (isnan(evidence.learning_rate), "which rate would do the same as clipping: needs the learning rate"),
    ]
    return [what for is_missing, what in gaps if is_missing]


def unknown_of_run(evidence: Evidence) -> list[str]:
    """Return what the telemetry and the score of a run of our command cannot tell."""
    training = evidence.training
    gaps = [
        (
            isnan(training.final_to_best_ratio) and training.outcome in ENDED_WELL,
            "whether it overfits, or is unstable at its end: needs a score that is an error, or the accuracy",
        ),
        (isnan(evidence.target_max_abs) and "model" in training.fixed_groups, "whether the target should be scaled"),
    ]
    return [what for is_missing, what in gaps if is_missing]
