"""What the commands print about runs."""

import math
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradclip import keys
from gradclip.config import TrainConfig
from gradclip.errors import Interrupted
from gradclip.project import PROJECT_ROOT
from gradclip.tracking.views import view_address

if TYPE_CHECKING:
    from gradclip.outcome import Summary
    from gradclip.pipeline import Result

UI = "http://127.0.0.1:5000"  # where MLflow serves its pages unless told otherwise


def tell_run(result: "Result", config: TrainConfig) -> str:
    """Describe a finished run in a few lines."""
    summary = result.summary
    lines = [
        tell_scores(summary.score.name, summary.score_train, summary.score_test),
        f"Outcome: {_outcome(summary)}",
        f"Clipping: {_clipping(summary, config)}",
        *(f"Note: {note}" for note in summary.notes),
        f"Run: {result.name}" + (f" ({result.run_id})" if result.run_id else " (not tracked)"),
        *([f"Figures: {result.folder / keys.FIGURES_FOLDER}"] if config.figures else []),
        *([f"See it: {_open_ui(config.tracking.uri, result.experiment_id)}"] if result.experiment_id else []),
        *([tell_unsent(result.unsent, result.folder)] if result.unsent else []),
        *(["", str(result.explosion)] if result.explosion else []),
    ]
    return "\n".join(lines)


def tell_interrupted(stop: Interrupted, overrides: Sequence[str]) -> str:
    """Say that a run was stopped, and how to go on with it.

    Args:
        stop: what stopped it.
        overrides: of its command; those that say where it is tracked are needed again.
    """
    how = tell_signal(stop.signal)
    if stop.run_id is None:
        return f"Stopped by {how} after step {stop.step}; not tracked, so that it cannot be taken up again"
    tracking = [override for override in overrides if override.startswith("tracking")]
    command = shlex.join(["python", "src/train.py", f"resume={stop.run_id}", *tracking])
    send = "python src/sync.py; " if stop.unsent else ""
    return f"Stopped by {how} after step {stop.step}. To go on: {send}{command}"


def tell_signal(number: int) -> str:
    """A signal as a user knows it.

    Example:
        >>> tell_signal(2), tell_signal(15)
        ('Ctrl-C', 'SIGTERM')
    """
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def tell_unsent(writes: int, folder: Path) -> str:
    """Say what waits for the store, and how it gets there.

    Example:
        >>> tell_unsent(2, Path("runs/1"))
        'Unsent: the store did not take 2 writes; they wait in runs/1. Send them: python src/sync.py runs/1'
    """
    command = shlex.join(["python", "src/sync.py", str(folder)])
    return f"Unsent: the store did not take {writes} writes; they wait in {folder}. Send them: {command}"


def tell_scores(score: str, train: float, test: float) -> str:
    """The two numbers as the tutorial prints them; accuracies in percent.

    Example:
        >>> tell_scores("mse", 2.3637, float("nan"))
        'Train: 2.36, Test: nan'
        >>> tell_scores("accuracy", 1.0, 0.9712)
        'Train: 100.0% right, Test: 97.1% right'
    """
    return f"Train: {tell_score(score, train)}, Test: {tell_score(score, test)}"


def tell_score(score: str, value: float) -> str:
    """One score, in its usual form."""
    return f"{value:.1%} right" if score == keys.ACCURACY.name and not math.isnan(value) else tell_number(value)


def tell_number(value: float) -> str:
    """Two decimals, or three digits where two decimals would say little.

    Example:
        >>> tell_number(17.812), tell_number(0.000123), tell_number(float("nan"))
        ('17.81', '0.000123', 'nan')
    """
    return f"{value:.2f}" if math.isnan(value) or 0.1 <= abs(value) < 1e6 else f"{value:.3g}"


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
