"""Choice of the jobs of a multirun that can be stacked together."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from gradclip.config.data import OwnDataSettings
from gradclip.config.schema import TrainConfig, has_effect
from gradclip.stacked.varying import flatten_settings, may_vary
from gradclip.training.job import Job

VARYING = {("data", "scale_target"), ("optimizer", "lr"), ("optimizer", "momentum"), ("optimizer", "weight_decay")}
PRECISIONS = {"32-true", "64-true"}


def refusal(config: TrainConfig) -> str:
    """Return why a job cannot be stacked at all; empty if it can."""
    trainer = config.trainer
    reasons = {
        "a module, data module or callback of your own acts on one training run at a time": bool(
            config.module or config.callbacks or isinstance(config.data, OwnDataSettings)
        ),
        "clip=activation acts on each layer during backward": config.clip.name == "activation",
        "optimizer=muon multiplies each weight matrix by itself": getattr(config.optimizer, "name", "") == "muon",
        f"trainer.precision={trainer.precision} scales or casts within the step": trainer.precision not in PRECISIONS,
        "it trains in several processes": trainer.strategy != "auto" or trainer.devices > 1,
        "model.dropout draws random numbers at every step": bool(getattr(config.model, "dropout", 0)),
        "tracking.system_metrics watches one run at a time": config.tracking.system_metrics,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def group(jobs: Sequence[Job]) -> list[list[Job]]:
    """Return the jobs in groups that can be stacked together."""
    groups: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        groups[json.dumps(_common_settings(job.config), sort_keys=True)].append(job)
    return list(groups.values())


def _common_settings(config: TrainConfig) -> Mapping[str, Any]:
    """Return what stacked jobs have in common: all settings with an effect, except the seed and varying numbers."""
    common = {}
    for path, value in flatten_settings(config.model_dump(exclude={"seed"})).items():
        name = ".".join(map(str, path))
        if has_effect(name):
            varies = path in VARYING or (path[0] in {"clip", "threshold"} and may_vary(path, value))
            common[name] = "varies" if varies else value
    return common
