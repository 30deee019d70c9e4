"""Pack a trained network so that :mod:`gradclip.training.predictor` can load it."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from gradclip.data.base import DataSchema, DataShape
from gradclip.tracking.records import ModelFiles

PACKAGES = ("mlflow", "numpy", "pandas", "scikit-learn", "skops", "torch")  # what gradclip.training.predictor imports


def package_model(
    folder: Path, network: nn.Module, description: Mapping[str, Any], schema: DataSchema, shape: DataShape
) -> ModelFiles:
    """Write network and scalers into a folder and say what else the stored model needs.

    Args:
        folder: where to write; must exist.
        network: the trained network.
        description: the arguments of :func:`gradclip.models.build.build_network` that rebuild it.
        schema: columns, target and scalers of the data, with a few unscaled examples.
        shape: of the network's inputs and outputs.
    """
    names = ["description", "weights", *(["inputs", "target"] if schema.scaling else [])]
    paths = {name: str(folder / name) for name in names}
    about = {
        "network": description,
        "columns": schema.columns,
        "target": schema.target,
        "classes": schema.is_classification,
    }
    Path(paths["description"]).write_text(json.dumps(about))
    torch.save({key: value.cpu() for key, value in network.state_dict().items()}, paths["weights"])
    if schema.scaling:
        from skops import io  # half a second to import, which runs without a model are spared

        io.dump(schema.scaling.inputs, paths["inputs"])
        io.dump(schema.scaling.target, paths["target"])
    package = Path(__file__).parents[1]
    return ModelFiles(
        code=str(package / "training/predictor.py"),
        package=str(package),
        artifacts=paths,
        requirements=[f"{name}=={version(name).partition('+')[0]}" for name in PACKAGES],
        example=schema.examples,
        prediction=_prediction(schema, shape),
    )


def _prediction(schema: DataSchema, shape: DataShape) -> pd.DataFrame | NDArray[Any]:
    """What a prediction looks like."""
    if isinstance(schema.examples, pd.DataFrame):
        return pd.DataFrame({schema.target: [0.0]})
    count = len(schema.examples)
    if schema.is_classification:
        return np.zeros((count, *shape.outputs[:-1]), np.int64)
    return np.zeros((count, *shape.outputs))
