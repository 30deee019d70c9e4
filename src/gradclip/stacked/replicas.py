"""Replicas: the data and the initial network of each stacked training, as in its ordinary run."""

import copy
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytorch_lightning import seed_everything
from torch import nn

from gradclip.config.data import TaskSettings
from gradclip.config.schema import TrainConfig
from gradclip.data.base import TrainingData
from gradclip.models.build import build_network
from gradclip.training.examples import build_data
from gradclip.training.modules import find_network_arguments


@dataclass(frozen=True)
class Replica:
    """One of the stacked training runs.

    Attributes:
        config: its settings.
        data: its examples, in the order of its seed.
        network: the network with its initial weights, shared by replicas of the same seed.
        network_arguments: arguments of :func:`gradclip.models.build.build_network` that rebuild the network.
    """

    config: TrainConfig
    data: TrainingData
    network: nn.Module
    network_arguments: dict[str, Any]


def make_replicas(configs: Sequence[TrainConfig]) -> list[Replica]:
    """Build a replica for each config; shared data and networks are built once.

    Raises:
        GradclipError: data or a network cannot be built.
    """
    data_of: dict[str, dict[int, TrainingData]] = defaultdict(dict)
    network_of: dict[tuple[str, int], nn.Module] = {}
    replicas = []
    for config in configs:
        data = _build_data(config, data_of[config.data.model_dump_json()])
        arguments = find_network_arguments(config, data)
        key = json.dumps(arguments), config.seed
        if key not in network_of:
            seed_everything(config.seed, verbose=False)
            network_of[key] = build_network(**arguments)
        replicas.append(Replica(config, data, network_of[key], arguments))
    return replicas


def _build_data(config: TrainConfig, built: dict[int, TrainingData]) -> TrainingData:
    """Return the data of a config, and add them to those ``built`` from the same settings, by seed.

    Stored rows are read once for all seeds, which only change their order.
    """
    if config.seed not in built:
        if built and not isinstance(config.data, TaskSettings):
            built[config.seed] = copy.copy(next(iter(built.values())))
            built[config.seed].seed = config.seed  # type: ignore[attr-defined]
        else:
            built[config.seed] = build_data(config)
    return built[config.seed]
