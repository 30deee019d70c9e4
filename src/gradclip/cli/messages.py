"""What the commands print about runs."""

import math
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradclip import keys
from gradclip.config.paths import PROJECT_ROOT
from gradclip.config.schema import TrainConfig
from gradclip.errors import Interrupted
from gradclip.formatting import format_scores, signal_name, unsent_message
from gradclip.tracking.views import view_address

if TYPE_CHECKING:
    from gradclip.training.outcome import Summary
    from gradclip.training.pipeline import Result

UI = "http://127.0.0.1:5000"  # where MLflow serves its pages unless told otherwise


def run_message(result: "Result", config: TrainConfig) -> str:
    """Describe a finished run in a few lines."""
    summary = result.summary
    lines = [
        format_scores(summary.score.name, summary.score_train, summary.score_test),
        f"Outcome: {_outcome(summary)}",
        f"Clipping: {_clipping(summary, config)}",
        *(f"Note: {note}" for note in summary.notes),
        f"Run: {result.name}" + (f" ({result.run_id})" if result.run_id else " (not tracked)"),
        *([f"Figures: {result.folder / keys.FIGURES_FOLDER}"] if config.figures else []),
        *([f"See it: {_open_ui(config.tracking.uri, result.experiment_id)}"] if result.experiment_id else []),
        *([unsent_message(result.unsent, result.folder)] if result.unsent else []),
        *(["", str(result.explosion)] if result.explosion else []),
    ]
    return "\n".join(lines)


def interrupted_message(stop: Interrupted, overrides: Sequence[str]) -> str:
    """Say that a run was stopped, and how to go on with it.

    Args:
        stop: what stopped it.
        overrides: of its command; those that say where it is tracked are needed again.
    """
    how = signal_name(stop.signal)
    if stop.run_id is None:
        return f"Stopped by {how} after step {stop.step}; not tracked, so that it cannot be taken up again"
    tracking = [override for override in overrides if override.startswith("tracking")]
    command = shlex.join(["python", "src/train.py", f"resume={stop.run_id}", *tracking])
    send = "python src/sync.py; " if stop.unsent else ""
    return f"Stopped by {how} after step {stop.step}. To go on: {send}{command}"


def _outcome(summary: "Summary") -> str:
    if summary.divergence is None:
        solved = {None: "", True: ", solved", False: ", not solved"}[summary.solved]
        return f"{summary.outcome}{solved}"
    where = summary.divergence
    return (
        f"{summary.outcome} at step {where.step} (epoch {where.epoch}), first in the {where.place}; "
        f"training ended after step {summary.steps}"
    )


def _clipping(summary: "Summary", config: TrainConfig) -> str:
    if math.isnan(summary.clip_fraction):
        return f"{config.clip.label}; no step had a finite gradient"
    median, p90, _, largest = (f"{norm:.3g}" for norm in summary.norm_percentiles)
    done = "" if config.clip.name == "none" else f" changed {summary.clip_fraction:.0%} of {summary.steps} steps"
    norms = f"gradient norm {config.clip.norms_state}: median {median}, 90th percentile {p90}, largest {largest}"
    return f"{config.clip.label}{done}; {norms}"


def _open_ui(uri: str | None, experiment_id: str) -> str:
    if str(uri).startswith("http"):
        return view_address(str(uri), experiment_id)
    ours = uri == f"sqlite:///{PROJECT_ROOT}/mlruns/mlflow.db"
    command = "make ui" if ours else f"mlflow ui --backend-store-uri {uri}"
    return f"{command}\n        {view_address(UI, experiment_id)}"
