"""Input example of a stored model, as a file: JSON for a data frame, NumPy's format for an array."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Example = pd.DataFrame | NDArray[Any]


def write_example(folder: Path, example: Example) -> str:
    """Write an example into a folder and return the file's path."""
    if isinstance(example, pd.DataFrame):
        types = {name: str(kind) for name, kind in example.dtypes.items()}
        path = folder / "example.json"
        path.write_text(json.dumps({"frame": example.to_json(orient="split", double_precision=15), "types": types}))
    else:
        path = folder / "example.npy"
        np.save(path, example)
    return str(path)


def read_example(path: Path) -> Example:
    """Read a file that :func:`write_example` wrote."""
    if path.suffix == ".npy":
        array: NDArray[Any] = np.load(path, allow_pickle=False)
        return array
    stored = json.loads(path.read_text())
    return pd.DataFrame(**json.loads(stored["frame"])).astype(stored["types"])
