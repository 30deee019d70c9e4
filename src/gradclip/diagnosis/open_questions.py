"""Questions that a log, or the telemetry of a run, leaves open, each with the data that would answer it."""

from math import isnan

import numpy as np

from gradclip.diagnosis.evidence import ENDED_WELL, Evidence
from gradclip.diagnosis.log import STEP, UPDATE_RATIO


def open_questions(evidence: Evidence) -> list[str]:
    """Return the questions that stay open, each with the data that would answer it."""
    questions = _questions_of_log(evidence) if evidence.training.command is None else _questions_of_run(evidence)
    return [question for question, is_open in questions.items() if is_open]


def _questions_of_log(evidence: Evidence) -> dict[str, bool]:
    """Return whether each question about a log is open."""
    log, training = evidence.log, evidence.training
    interval = float(np.median(np.diff(log[STEP]))) if len(log) > 1 else 1.0
    exceed_threshold = bool(np.any(evidence.finite_norms > training.threshold))
    is_clear = log.is_before_clipping or exceed_threshold or evidence.is_clipped_already
    rate = "which learning rate would have the same effect as clipping: needs the learning rate of the training"
    lengths = "how long the steps are: needs the norms of updates and weights, which GradientMonitor records"
    tensor = "which tensor the norm comes from: needs the norm of each tensor, in columns grad_norm/<tensor>"
    return {
        f"whether norms spike between the logged steps: only one step in {interval:g} was logged": interval > 1,
        "whether these norms were measured before clipping: the log does not show it": not is_clear,
        "how much was clipped: needs the threshold, or the norms after clipping": isnan(evidence.clip_fraction),
        "whether the optimizer undoes the clipping: needs the name of the optimizer": not training.optimizer,
        lengths: not log.tensors(UPDATE_RATIO),
        tensor: not evidence.tensors,
        rate: isnan(evidence.learning_rate),
    }


def _questions_of_run(evidence: Evidence) -> dict[str, bool]:
    """Return whether each question about a run of our command is open."""
    training = evidence.training
    ending = "whether the run overfits or is unstable at its end: needs an error or the accuracy as its score"
    is_fixed = "model" in training.fixed_groups
    return {
        ending: isnan(training.final_to_best_ratio) and training.outcome in ENDED_WELL,
        "whether the target should be scaled": isnan(evidence.target_max_abs) and is_fixed,
    }
