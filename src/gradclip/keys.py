"""The names of all tags, artifacts, and metrics except scores.

Each name is defined only here; the names of scores are in :mod:`gradclip.scores`. Parameters are named by the dotted
paths of their settings in the config.
"""

from typing import Final

# Per epoch, for user-defined modules.
LOSS_TRAIN: Final = "loss/train"  # mean loss of the training batches

# Per optimizer step. With clip=activation, gradients "before clipping" already come from clipped derivatives.
LOSS_STEP: Final = "loss/step"
GRAD_NORM: Final = "grad/norm"  # global L2 norm before clipping
GRAD_NORM_CLIPPED: Final = "grad/norm_clipped"  # global L2 norm after clipping
GRAD_MAX_ABS: Final = "grad/max_abs"  # largest |element| before clipping
GRAD_COEFFICIENT: Final = "grad/coefficient"  # norm after clipping / norm before
GRAD_NORM_PEAK: Final = "grad/norm_peak"  # largest grad/norm in a window of steps

# Once, at the end of a run.
BEST_EPOCH: Final = "best/epoch"
GRAD_CLIP_FRACTION: Final = "grad/clip_fraction"
GRAD_SKIP_COUNT: Final = "grad/skip_count"  # number of skipped updates
GRAD_NORM_P50: Final = "grad/norm_p50"
GRAD_NORM_P90: Final = "grad/norm_p90"
GRAD_NORM_P99: Final = "grad/norm_p99"
GRAD_NORM_MAX: Final = "grad/norm_max"
GRAD_NORM_PERCENTILES: Final = (GRAD_NORM_P50, GRAD_NORM_P90, GRAD_NORM_P99, GRAD_NORM_MAX)

# Tags.
OUTCOME: Final = "outcome"  # learned | stalled | diverged, or finished if no baseline separates the first two
SCORE: Final = "score"  # name of the metric that is the score of a user-defined module
SCORE_MODE: Final = "score_mode"  # min | max: which values of this metric are better
SCORE_SPLIT: Final = "score_split"  # test if the module measured this metric on test examples, else validation
SOLVED: Final = "solved"  # true | false: whether the best score reached the target of the data set
DIVERGED_STEP: Final = "diverged_step"
DIVERGED_EPOCH: Final = "diverged_epoch"
DIVERGED_IN: Final = "diverged_in"  # loss | gradient, weight or update <parameter> | score
CLIP: Final = "clip"  # method and thresholds, as in the run's name
LOSS_REDUCTION: Final = "loss_reduction"  # mean | sum over the batch: gradients and thresholds scale with it
SEED: Final = "seed"
PURPOSE: Final = "purpose"  # marks multiruns that advise trained; "the last run" skips them
DATA: Final = "data"  # name of the data set, or of its file
BEST: Final = "best"  # best settings of a multirun
HOST: Final = "host"
LOCK: Final = "lock"  # path of the lock file that the run's process holds
PROCESS: Final = "process"  # the process that writes the run: id, and start time in seconds since 1970
CONFIG_HASH: Final = "config_hash"  # hash of all settings and data that affect training
DATA_DIGEST: Final = "data_digest"  # SHA-256 of the file or folder that the table is read from
CREATION: Final = "creation"  # our own unique id, which finds a run that was already created
FOLDER: Final = "folder"  # folder of the run's files on that host
COMMAND: Final = "command"  # the command line
VERSION: Final = "version"  # gradclip's version: an installed package has no commit
ORDER: Final = "mlflow.gradclip.order"  # sort key of our view; the MLflow UI hides tags with this prefix
DESCRIPTION: Final = "mlflow.note.content"  # MLflow's own tag: the description on a run's page, in Markdown
PARENT_RUN: Final = "mlflow.parentRunId"  # MLflow's own tag: makes a run the child of another

# Values of the tag PURPOSE.
PROBE: Final = "probe"
CONFIRMATION: Final = "confirmation"

# Artifacts.
CONFIG_FILE: Final = "config.yaml"
EXPLOSION_FOLDER: Final = "explosion"
COMPARISON_FOLDER: Final = "comparison"  # in the folder of a multirun, and under the artifacts of its parent run
COMPARISON_FIGURE: Final = "all_runs"  # the figure of a comparison to look at first
TELEMETRY_FOLDER: Final = "telemetry"
FIGURES_FOLDER: Final = "figures"
EXPLOSION_TEXT: Final = "explosion/report.txt"
EXPLOSION_JSON: Final = "explosion/report.json"
TELEMETRY_FILE: Final = "telemetry/gradients.parquet"
HIDDEN_STATES_FILE: Final = "telemetry/hidden_states.parquet"
MODEL: Final = "model"
WEIGHTS_FOLDER: Final = "weights"
WEIGHTS_FILE: Final = "weights/state_dict.pt"  # written for a user-defined module
