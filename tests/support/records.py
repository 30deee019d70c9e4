"""Gradient records of synthetic steps."""

import numpy as np

from gradclip.telemetry.record import GradientRecord


def make_record(norms, names=("weight", "bias"), first_step=1, **columns):
    """Return a record without failures, with two steps per epoch; ``columns`` replaces columns."""
    norms = np.array(norms, dtype=float).reshape(-1, len(names))
    steps = len(norms)
    step = np.arange(first_step, first_step + steps)
    defaults = {
        "step": step,
        "epoch": (step - 1) // 2 + 1,
        "batch": (step - 1) % 2,
        "max_abs": norms.max(axis=1) if steps else np.empty(0),
        "norms": norms,
        "norms_clipped": norms.copy(),
        "loss": np.ones(steps),
        "learning_rate": np.full(steps, 0.1),
        "has_loss": np.ones(steps, dtype=bool),
        "scaler_skipped": np.zeros(steps, dtype=bool),
        "input_max_abs": np.ones(steps),
        "target_max_abs": np.ones(steps),
        "inner_product": np.full(steps, np.nan),
        "skipped": np.zeros(steps, dtype=bool),
        "nonfinite": np.zeros(norms.shape),
        "weights": np.ones(norms.shape),
        "updates": np.full(norms.shape, 0.001),
    }
    replaced = {
        name: np.array(values, dtype=defaults[name].dtype).reshape(defaults[name].shape)
        for name, values in columns.items()
    }
    return GradientRecord(names, **defaults | replaced)
