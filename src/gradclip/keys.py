"""Every metric, tag and artifact name, once. Parameters are named by their place in the config."""

from typing import Final

# Per epoch, in the squared unit of the target.
MSE_TRAIN: Final = "mse/train"
MSE_TEST: Final = "mse/test"

# Per optimizer step.
LOSS_STEP: Final = "loss/step"
GRAD_NORM: Final = "grad/norm"  # global L2 norm, before clipping
GRAD_NORM_CLIPPED: Final = "grad/norm_clipped"  # global L2 norm, after clipping
GRAD_MAX_ABS: Final = "grad/max_abs"  # largest |element|, before clipping
GRAD_COEFFICIENT: Final = "grad/coefficient"  # norm after over norm before
GRAD_NORM_PEAK: Final = "grad/norm_peak"  # largest norm of a window of steps

# Once, at the end.
FINAL_MSE_TRAIN: Final = "final/mse_train"
FINAL_MSE_TEST: Final = "final/mse_test"
BEST_MSE_TEST: Final = "best/mse_test"
BEST_EPOCH: Final = "best/epoch"
GRAD_CLIP_FRACTION: Final = "grad/clip_fraction"
GRAD_NORM_P50: Final = "grad/norm_p50"
GRAD_NORM_P90: Final = "grad/norm_p90"
GRAD_NORM_P99: Final = "grad/norm_p99"
GRAD_NORM_MAX: Final = "grad/norm_max"

# Tags.
OUTCOME: Final = "outcome"  # learned | stalled | diverged
DIVERGED_STEP: Final = "diverged_step"
DIVERGED_EPOCH: Final = "diverged_epoch"
DIVERGED_IN: Final = "diverged_in"  # loss | gradient | weight, and where
CLIP: Final = "clip"  # the method and its thresholds, as in the run's name
LOSS_REDUCTION: Final = "loss_reduction"  # mean or sum over the batch: it sets the size of gradients and thresholds
SEED: Final = "seed"
HOST: Final = "host"
COMMAND: Final = "command"
PARENT_RUN: Final = "mlflow.parentRunId"  # MLflow's own: nests a run under another

# Artifacts.
CONFIG_FILE: Final = "config.yaml"
FIGURES_FOLDER: Final = "figures"
EXPLOSION_TEXT: Final = "explosion/report.txt"
EXPLOSION_JSON: Final = "explosion/report.json"
TELEMETRY_FILE: Final = "telemetry/gradients.parquet"
MODEL: Final = "model"
