"""The choice between Lightning's clipping and a callback of ours, and the thresholds at every step."""

from typing import Any

import torch

from gradclip.arrays import Floats, Integers
from gradclip.callbacks.clip_activations import ClipActivations
from gradclip.callbacks.clip_gradients import ClipGradients
from gradclip.clipping.build import BACKWARD_METHODS, make_clipper
from gradclip.clipping.scheduled import factor_at
from gradclip.config.schema import TrainConfig


def lightning_clipping(config: TrainConfig) -> dict[str, Any]:
    """Return the Trainer's own clipping arguments."""
    return {"gradient_clip_val": config.clip.value, "gradient_clip_algorithm": config.clip.name}


def lightning_can_clip(config: TrainConfig) -> bool:
    """Return whether Lightning supports the clipping: all parameters, L2 norm or ±value, a constant threshold."""
    plain = (
        {"name": "norm", "order": 2.0, "parameters": "*"},
        {"name": "value", "lower": None, "parameters": "*"},
    )
    return config.threshold.name == "constant" and config.clip.model_dump(exclude={"value"}) in plain


def clipping_callbacks(config: TrainConfig) -> list[ClipGradients | ClipActivations]:
    """Return the callback that clips if Lightning does not; it must come after the monitor."""
    if config.clip.name == "none":
        return []
    if config.clip.name in BACKWARD_METHODS:
        return [ClipActivations(**config.clip.model_dump(exclude={"name"}))]
    return [ClipGradients(make_clipper(**clipper_settings(config)))]


def clipper_settings(config: TrainConfig) -> dict[str, Any]:
    """Return the arguments of :func:`gradclip.clipping.build.make_clipper`."""
    if config.clip.name == "none":
        return {"name": "none"}
    threshold = config.threshold.model_dump(exclude={"name"})
    schedule = threshold | {"shape": config.threshold.name} if threshold else None
    return config.clip.model_dump() | {"schedule": schedule}


def thresholds_at(config: TrainConfig, step: Integers) -> dict[str, float | Floats]:
    """Return the thresholds of the norm and of each element; if a schedule changes one, a value for each step.

    Steps are counted from 1, ``[steps]``.
    """
    thresholds: dict[str, float | Floats] = {**config.clip.thresholds}
    schedule = clipper_settings(config).get("schedule")
    if schedule is not None:
        factor = factor_at(torch.from_numpy(step - 1), **schedule).numpy()
        changing = {quantity for quantity, setting in config.clip.limits.items() if setting == "value"}
        thresholds |= {quantity: thresholds[quantity] * factor for quantity in changing & thresholds.keys()}
    return thresholds
