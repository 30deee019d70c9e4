"""Synthetic runs and telemetry for the tests of advice."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradclip import keys
from gradclip.tracking.stored_runs import StoredRun

Numbers = Sequence[float] | NDArray[np.float64]


def made_run(
    outcome: str = "learned", clip: str = "none", value: str = "1.0", fraction: float = 0.0, optimizer: str = "sgd",
    **parameters: str,
) -> StoredRun:  # fmt: skip
    settings = {
        "clip.name": clip, "clip.value": value, "optimizer.name": optimizer, "optimizer.lr": "0.01", "loss.name": "mse",
        "schedule.name": "constant", "data.scale_target": "none",
    }  # fmt: skip
    dotted = {name.replace("__", "."): text for name, text in parameters.items()}
    overrides = "" if clip == "none" else f" clip={clip} clip.value={value}"
    tags = {keys.OUTCOME: outcome, keys.COMMAND: f"python src/train.py{overrides}"}
    metrics = {keys.GRAD_CLIP_FRACTION: fraction}
    return StoredRun("id", "made", None, "FINISHED", 1.0, settings | dotted, metrics, tags)


def made_telemetry(norms: Numbers, clipped: Numbers | None = None, target: float = 1.0) -> pd.DataFrame:
    norm, steps = np.asarray(norms, dtype=float), np.arange(len(norms))
    norm_clipped = norm if clipped is None else np.asarray(clipped, dtype=float)
    return pd.DataFrame(
        {
            "step": steps + 1,
            "epoch": steps // 10 + 1,
            keys.LOSS_STEP: norm,
            keys.GRAD_NORM: norm,
            keys.GRAD_NORM_CLIPPED: norm_clipped,
            keys.GRAD_COEFFICIENT: np.divide(norm_clipped, norm, out=np.ones_like(norm), where=np.isfinite(norm)),
            keys.GRAD_MAX_ABS: norm / 10,
            "target/max_abs": target,
        }
    )
