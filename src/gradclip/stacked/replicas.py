"""What stacked replicas start from: the data and the initial network of their ordinary runs."""

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytorch_lightning import seed_everything
from torch import nn

from gradclip.config.data import TaskSettings
from gradclip.config.schema import TrainConfig
from gradclip.data.base import TrainingData
from gradclip.models.build import build_network
from gradclip.training.components import build_data, describe_network


@dataclass(frozen=True)
class Replica:
    """One of the trainings.

    Attributes:
        config: its settings.
        data: its examples, in the order of its seed.
        network: with its initial weights; replicas of one seed share it.
        description: how to build the network again.
    """

    config: TrainConfig
    data: TrainingData
    network: nn.Module
    description: dict[str, Any]


def make_replicas(configs: Sequence[TrainConfig]) -> list[Replica]:
    """Make what each training starts from, what several have in common once.

    Raises:
        GradclipError: data or network cannot be made.
    """
    datas: dict[tuple[str, int], TrainingData] = {}
    networks: dict[tuple[str, int], nn.Module] = {}
    replicas = []
    for config in configs:
        data = _data(config, datas)
        description = describe_network(config, data)
        key = json.dumps(description), config.seed
        if key not in networks:
            seed_everything(config.seed, verbose=False)
            networks[key] = build_network(**description)
        replicas.append(Replica(config, data, networks[key], description))
    return replicas


def _data(config: TrainConfig, made: dict[tuple[str, int], TrainingData]) -> TrainingData:
    """The data of a seed: rows are read once and put into another order."""
    settings = config.data.model_dump_json()
    if (settings, config.seed) not in made:
        others = [data for (other, _), data in made.items() if other == settings]
        if others and not isinstance(config.data, TaskSettings):
            made[settings, config.seed] = copy.copy(others[0])
            made[settings, config.seed].seed = config.seed  # type: ignore[attr-defined]
        else:
            made[settings, config.seed] = build_data(config)
    return made[settings, config.seed]
