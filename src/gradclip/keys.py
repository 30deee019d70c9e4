"""Every metric, tag and artifact name, once. Parameters are named by their place in the config."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Score:
    """What tells how well a network does, and the metrics that carry it.

    Attributes:
        name: ``mse``, or ``accuracy``.
        perfect: the value of a network that makes no mistake.

    Example:
        >>> MSE.train, ACCURACY.final_test
        ('mse/train', 'final/accuracy_test')
    """

    name: str
    perfect: float

    @property
    def train(self) -> str:
        """On the training examples, once an epoch."""
        return f"{self.name}/train"

    @property
    def test(self) -> str:
        """On the test examples, once an epoch."""
        return f"{self.name}/test"

    @property
    def final_train(self) -> str:
        """On the training examples, at the end."""
        return f"final/{self.name}_train"

    @property
    def final_test(self) -> str:
        """On the test examples, at the end."""
        return f"final/{self.name}_test"

    @property
    def best_test(self) -> str:
        """The best that was reached on the test examples."""
        return f"best/{self.name}_test"


MSE: Final = Score("mse", perfect=0.0)  # mean squared error, in the squared unit of the target
ACCURACY: Final = Score("accuracy", perfect=1.0)  # share of the predictions that name the right class
SCORES: Final = {score.name: score for score in (MSE, ACCURACY)}

# Per optimizer step.
LOSS_STEP: Final = "loss/step"
GRAD_NORM: Final = (
    "grad/norm"  # global L2 norm, before clipping; of clip=activation, of weights whose derivatives are clipped
)
GRAD_NORM_CLIPPED: Final = "grad/norm_clipped"  # global L2 norm, after clipping
GRAD_MAX_ABS: Final = "grad/max_abs"  # largest |element|, before clipping
GRAD_COEFFICIENT: Final = "grad/coefficient"  # norm after over norm before
GRAD_NORM_PEAK: Final = "grad/norm_peak"  # largest norm of a window of steps

# Once, at the end.
BEST_EPOCH: Final = "best/epoch"
GRAD_CLIP_FRACTION: Final = "grad/clip_fraction"
GRAD_SKIP_COUNT: Final = "grad/skip_count"  # updates left out
GRAD_NORM_P50: Final = "grad/norm_p50"
GRAD_NORM_P90: Final = "grad/norm_p90"
GRAD_NORM_P99: Final = "grad/norm_p99"
GRAD_NORM_MAX: Final = "grad/norm_max"

# Tags.
OUTCOME: Final = "outcome"  # learned | stalled | diverged
SOLVED: Final = "solved"  # whether the best test score reached the data's own mark; true | false
DIVERGED_STEP: Final = "diverged_step"
DIVERGED_EPOCH: Final = "diverged_epoch"
DIVERGED_IN: Final = "diverged_in"  # loss | gradient | weight, and where | score
CLIP: Final = "clip"  # the method and its thresholds, as in the run's name
LOSS_REDUCTION: Final = "loss_reduction"  # mean or sum over the batch: it sets the size of gradients and thresholds
SEED: Final = "seed"
HOST: Final = "host"
PROCESS: Final = "process"  # which writes the run: its number and when it started, in seconds since 1970
CONFIG_HASH: Final = "config_hash"  # of all settings that change the training
CREATION: Final = "creation"  # a number of ours, by which a run that was created is found again
FOLDER: Final = "folder"  # of the run's files, on that host
COMMAND: Final = "command"
PARENT_RUN: Final = "mlflow.parentRunId"  # MLflow's own: nests a run under another

# Artifacts.
CONFIG_FILE: Final = "config.yaml"
EXPLOSION_FOLDER: Final = "explosion"
TELEMETRY_FOLDER: Final = "telemetry"
FIGURES_FOLDER: Final = "figures"
EXPLOSION_TEXT: Final = "explosion/report.txt"
EXPLOSION_JSON: Final = "explosion/report.json"
TELEMETRY_FILE: Final = "telemetry/gradients.parquet"
HIDDEN_STATES_FILE: Final = "telemetry/hidden_states.parquet"
MODEL: Final = "model"
