"""Pack a trained network so that :mod:`gradclip.serving` can load it."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from skops import io
from torch import nn

from gradclip.data.scaling import Scaling
from gradclip.data.sources import Table
from gradclip.tracking.messages import ModelFiles

PACKAGES = ("mlflow", "numpy", "pandas", "scikit-learn", "skops", "torch")  # what gradclip.serving imports
EXAMPLE_ROWS = 3


def pack_model(
    folder: Path, network: nn.Module, description: Mapping[str, Any], scaling: Scaling, table: Table
) -> ModelFiles:
    """Write network and scalers into a folder and say what else the stored model needs.

    Args:
        folder: where to write; must exist.
        network: the trained network.
        description: the arguments of :func:`gradclip.models.build.build_network` that rebuild it.
        scaling: the fitted scalers.
        table: the table it was trained on.
    """
    paths = {name: str(folder / name) for name in ("description", "weights", "inputs", "target")}
    Path(paths["description"]).write_text(json.dumps({"network": description, "target": table.target.name}))
    torch.save({key: value.cpu() for key, value in network.state_dict().items()}, paths["weights"])
    io.dump(scaling.inputs, paths["inputs"])
    io.dump(scaling.target, paths["target"])
    package = Path(__file__).parent
    return ModelFiles(
        code=str(package / "serving.py"),
        package=str(package),
        artifacts=paths,
        requirements=[f"{name}=={version(name).partition('+')[0]}" for name in PACKAGES],
        example=table.features.iloc[table.test_rows[:EXAMPLE_ROWS]],
        prediction=pd.DataFrame({table.target.name: [0.0]}),
    )
