"""Packaging of a trained network, to be loaded by :mod:`gradclip.training.predictor`."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradclip.data.base import DataSchema
from gradclip.models.build import build_network
from gradclip.tracking.model_example import write_example
from gradclip.tracking.records import ModelFiles

NETWORK = "network.pth"
PACKAGES = ("mlflow", "numpy", "pandas", "scikit-learn", "skops", "torch")  # imported by gradclip.training.predictor


def package_model(folder: Path, network: nn.Module, arguments: Mapping[str, Any], schema: DataSchema) -> ModelFiles:
    """Write network and scalers into a folder, and return these files with an example and the requirements.

    Args:
        folder: an existing folder for the files.
        network: the trained network.
        arguments: arguments of :func:`gradclip.models.build.build_network` that rebuild the network.
        schema: raw examples and the scalers.
    """
    scaling = schema.scaling
    scalers = {"inputs": scaling.inputs, "target": scaling.target} if scaling else {}
    scalers = {name: scaler for name, scaler in scalers.items() if scaler is not None}
    paths = {name: str(folder / name) for name in ("description", "weights", *scalers)}
    about = {
        "network": arguments,
        "columns": schema.columns,
        "target": schema.target,
        "classes": schema.is_classification,
        "labels": schema.labels,
        "categorical": scaling.categorical if scaling else [],
        "fills_missing": scaling is not None and scaling.fills_missing,
    }
    Path(paths["description"]).write_text(json.dumps(about))
    state = {key: value.cpu() for key, value in network.state_dict().items()}
    torch.save(state, paths["weights"])
    rebuilt = build_network(**arguments)  # a fresh copy on the CPU, without the callbacks' hooks
    rebuilt.load_state_dict(state)
    torch.save(rebuilt.eval(), folder / NETWORK)
    if scalers:
        from skops import io  # imported here: takes half a second, and not every run stores a model

        for name, scaler in scalers.items():
            io.dump(scaler, paths[name])
    return ModelFiles(
        artifacts=paths,
        example=write_example(folder, schema.examples),
        requirements=[f"{name}=={version(name).partition('+')[0]}" for name in PACKAGES],
        network=str(folder / NETWORK),
    )
