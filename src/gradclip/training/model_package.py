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

from gradclip.data.base import Raw, Shape
from gradclip.tracking.records import ModelFiles

PACKAGES = ("mlflow", "numpy", "pandas", "scikit-learn", "skops", "torch")  # what gradclip.training.predictor imports


def package_model(
    folder: Path, network: nn.Module, description: Mapping[str, Any], raw: Raw, shape: Shape
) -> ModelFiles:
    """Write network and scalers into a folder and say what else the stored model needs.

    Args:
        folder: where to write; must exist.
        network: the trained network.
        description: the arguments of :func:`gradclip.models.build.build_network` that rebuild it.
        raw: examples as a user has them, and the scalers.
        shape: of the network's inputs and outputs.
    """
    names = ["description", "weights", *(["inputs", "target"] if raw.scaling else [])]
    paths = {name: str(folder / name) for name in names}
    about = {"network": description, "columns": raw.columns, "target": raw.target, "classes": raw.classes}
    Path(paths["description"]).write_text(json.dumps(about))
    torch.save({key: value.cpu() for key, value in network.state_dict().items()}, paths["weights"])
    if raw.scaling:
        from skops import io  # half a second to import, which runs without a model are spared

        io.dump(raw.scaling.inputs, paths["inputs"])
        io.dump(raw.scaling.target, paths["target"])
    package = Path(__file__).parents[1]
    return ModelFiles(
        code=str(package / "training/predictor.py"),
        package=str(package),
        artifacts=paths,
        requirements=[f"{name}=={version(name).partition('+')[0]}" for name in PACKAGES],
        example=raw.examples,
        prediction=_prediction(raw, shape),
    )


def _prediction(raw: Raw, shape: Shape) -> pd.DataFrame | NDArray[Any]:
    """What a prediction looks like."""
    if isinstance(raw.examples, pd.DataFrame):
        return pd.DataFrame({raw.target: [0.0]})
    count = len(raw.examples)
    return np.zeros((count, *shape.outputs[:-1]), np.int64) if raw.classes else np.zeros((count, *shape.outputs))
