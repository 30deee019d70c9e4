"""Training from Python, for example in a notebook: like the command ``train``, but it returns an object."""

import os
import warnings
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from gradclip import keys
from gradclip.cli.arguments import check_arguments
from gradclip.cli.messages import interrupted_message, run_message
from gradclip.config.composition import compose_run
from gradclip.config.error_messages import describe
from gradclip.config.overrides import is_of_hydra
from gradclip.config.passwords import extract_passwords
from gradclip.config.validation import check_threshold
from gradclip.errors import ConfigError, Interrupted
from gradclip.program import command_line
from gradclip.quoting import override_value
from gradclip.training.job import Job
from gradclip.training.start import is_main_process, train_job

if TYPE_CHECKING:
    from torch import nn

    from gradclip.diagnosis.explosion import Explosion
    from gradclip.telemetry.record import GradientRecord
    from gradclip.training.result import Result

SHOWN = ("learning_curve", "gradient_norm")  # figures that a notebook shows with a run

# Lightning imports tqdm in a way that warns in a notebook without widgets.
warnings.filterwarnings("ignore", "IProgress not found")


@dataclass(frozen=True)
class Figure:
    """A figure of a run in a file, which a notebook displays."""

    path: Path

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()


class FinishedRun:
    """A run that has ended, with any outcome: its scores, gradients and figures.

    A notebook displays the summary that the command prints, the learning curve and the gradient norms.
    """

    def __init__(self, job: Job, result: "Result") -> None:
        self._job, self._result = job, result

    @property
    def run_id(self) -> str | None:
        """Id of the run in the store; None if the run is not tracked."""
        return self._result.run.run_id if self._result.run else None

    @property
    def name(self) -> str:
        """Name of the run, such as ``norm=1.0 seed=0``."""
        return self._job.name

    @property
    def folder(self) -> Path:
        """Folder of the run's files."""
        return self._job.folder

    @property
    def outcome(self) -> str:
        """``learned``, ``stalled``, ``diverged``, or ``finished`` for a score without a baseline."""
        return self._result.summary.outcome

    @property
    def scores(self) -> dict[str, float]:
        """The final scores by metric name, such as ``mse/test``; NaN if training diverged."""
        summary = self._result.summary
        return {summary.score.by_epoch(split): value for split, value in summary.scores.items()}

    @property
    def record(self) -> "GradientRecord":
        """The gradients of every step."""
        return self._result.record

    @property
    def explosion(self) -> "Explosion | None":
        """The explosion report; None if there was no explosion."""
        return self._result.explosion

    @property
    def network(self) -> "nn.Module":
        """The trained network."""
        return self._result.network

    @property
    def figures(self) -> Mapping[str, Figure]:
        """The figures by name; empty with ``figures=false``."""
        paths = sorted((self.folder / keys.FIGURES_FOLDER).glob("*.png"))
        return {path.stem: Figure(path) for path in paths}

    def __repr__(self) -> str:
        return run_message(self._job, self._result)

    def _repr_html_(self) -> str:
        figures = self.figures
        shown = [b64encode(figures[name]._repr_png_()).decode() for name in SHOWN if name in figures]
        images = "".join(f'<img src="data:image/png;base64,{image}">' for image in shown)
        return f"<pre>{escape(repr(self))}</pre>{images}"


def train(*overrides: str, **settings: object) -> FinishedRun:
    """Train a network, clip its gradients and track the run, as ``gradclip train`` does.

    Args:
        *overrides: overrides as on the command line, such as ``"clip=norm"``.
        **settings: settings by name; write ``**{"clip.value": 1.0}`` for a name with a dot.

    Raises:
        GradclipError: a setting is invalid, or the data, network, trainer or store cannot be used; the message is the
            line that the command prints.
        KeyboardInterrupt: training was interrupted; the run is closed, and the message says how to resume it.
    """
    if others := [one for one in overrides if not isinstance(one, str)]:
        raise ConfigError(f"overrides: got {others[0]!r}; each must be a string; pass a list as *overrides")
    if flags := [text for text in overrides if text.startswith("-")]:
        raise ConfigError(f"{flags[0]}: not a setting; write name=value")
    typed = [*overrides, *(_override(name, value) for name, value in settings.items())]
    typed = extract_passwords(typed, os.environ)
    try:
        check_arguments(typed, "train")
        config, folder = compose_run(typed)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(describe(error)) from error
    if config.resume is not None:
        raise ConfigError(f"resume: got {config.resume!r}; use {command_line('train', ['resume=...'])}")
    check_threshold(config, typed)
    kept = tuple(override for override in typed if not is_of_hydra(override))
    job = Job(config, kept, folder, is_main=is_main_process())
    try:
        result = train_job(job)
    except Interrupted as stop:
        raise KeyboardInterrupt(interrupted_message(stop, kept)) from None
    if result.run and result.run.refused:
        warnings.warn(describe(result.run.refused), stacklevel=2)
    return FinishedRun(job, result)


def _override(name: str, value: object) -> str:
    """Return a setting as an override."""
    try:
        return f"{name}={override_value(value)}"
    except TypeError as error:
        raise ConfigError(f"{name}: got {value!r}; must be a number, a string, a list, a mapping or None") from error
