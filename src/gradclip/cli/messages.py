"""Messages that the commands print about single runs."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradclip import keys
from gradclip.config.overrides import is_of_tracking, train_command
from gradclip.config.schema import TrainConfig
from gradclip.errors import Interrupted
from gradclip.formatting import format_number, format_scores, format_value, signal_name, unsent_message
from gradclip.program import command_line
from gradclip.scores import MSE
from gradclip.tracking.views import open_pages
from gradclip.training.job import Job

if TYPE_CHECKING:
    from gradclip.training.outcome import Summary
    from gradclip.training.result import Result


def run_message(job: Job, result: "Result") -> str:
    """Return a summary of a finished run in a few lines."""
    config, summary, run = job.config, result.summary, result.run
    experiment_id = run.begun.experiment_id if run else None
    lines = [
        format_scores(summary.score.name, summary.scores),
        f"Outcome: {_outcome(summary)}",
        f"Clipping: {_clipping(result, config)}",
        *_score(result),
        *(f"Note: {note}" for note in summary.notes),
        f"Run: {job.name} ({run.run_id})" if run else f"Run: {job.name} (not tracked)",
        *([f"Figures: {job.folder / keys.FIGURES_FOLDER}"] if config.figures else []),
        *([f"See it: {open_pages(str(config.tracking.uri), experiment_id)}"] if experiment_id else []),
        *([unsent_message(run.unsent, job.folder)] if run and run.unsent else []),
        *(["", str(result.explosion)] if result.explosion else []),
    ]
    return "\n".join(lines)


def interrupted_message(stop: Interrupted, overrides: Sequence[str]) -> str:
    """Return the message on a stopped run: how to resume it, with those of its overrides that concern tracking."""
    stopped = f"Stopped by {signal_name(stop.signal)} after step {stop.step}"
    if stop.run_id is None:
        return f"{stopped}; it was not tracked, so it cannot be resumed"
    command = train_command([f"resume={stop.run_id}", *filter(is_of_tracking, overrides)])
    send = f"{command_line('sync')}; " if stop.unsent else ""
    return f"{stopped}. To resume: {send}{command}"


def _outcome(summary: "Summary") -> str:
    divergence = summary.divergence
    if divergence is None:
        solved = {None: "", True: ", solved", False: ", not solved"}[summary.solved]
        return f"{summary.outcome}{solved}"
    return (
        f"{summary.outcome} at step {divergence.step} (epoch {divergence.epoch}), first in the {divergence.place}; "
        f"training ended after step {summary.steps}"
    )


def _clipping(result: "Result", config: TrainConfig) -> str:
    label, norms_state, summary = config.clip.label, config.clip.norms_state, result.summary
    if math.isnan(summary.clip_fraction):
        return f"{label}; no step had a finite gradient"
    median, p90, _, largest = map(format_value, summary.norm_percentiles)
    changed = "" if config.clip.name == "none" else f" changed {result.clipped_steps}"
    return f"{label}{changed}; gradient norm {norms_state}: median {median}, 90th percentile {p90}, largest {largest}"


def _score(result: "Result") -> list[str]:
    """Return the line with MSE, its root, and R² if a baseline is known; no line for other scores.

    It is the score on the test examples, or on the validation examples if there are no test examples.
    """
    (split, mse), scale = [*result.summary.scores.items()][-1], result.score_scale
    if scale.score != MSE or not math.isfinite(mse):
        return []
    r_squared = f", R² {scale.normalized(mse, split):.4g}" if math.isfinite(scale.baseline) else ""
    return [f"Score: {split} MSE {format_number(mse)}, RMSE {format_number(math.sqrt(mse))}{r_squared}"]
