"""Spool format of gradclip 0.1, without a version number: a function's name and its arguments in order."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from gradclip.tracking.operations import argument_types


def upgrade(line: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Convert a line of version 1 in a run's folder to version 2.

    Raises:
        KeyError: a part of the line is missing.
        ValueError: a part of the line is invalid.
    """
    operation, arguments = line["function_name"], list(line["arguments"])
    try:
        if operation == "write_datasets":
            arguments = [[_description(data) for data in arguments[0]]]
        if operation == "write_model":
            arguments = [_model_files(arguments[0], folder)]
    except (AttributeError, IndexError) as error:
        raise ValueError(f"{operation}: {error}") from error
    store = dict(line["store"])
    store["retry_seconds"] = store.pop("patience", 60.0)
    named = dict(zip(argument_types(operation), arguments, strict=False))
    if operation == "create_run":
        named.setdefault("start", None)
    return {"version": 2, "operation": operation, "run_id": line["run_id"], "store": store, "arguments": named}


def _description(data: dict[str, Any]) -> dict[str, Any]:
    return {**data["dataset"], "context": data["tags"].get("mlflow.data.context", "")}


def _model_files(files: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write the input example, which version 1 kept in the line, to a file beside the others."""
    example = files["example"]
    stem = folder / "unsent_model" / "example"
    if "array" in example:
        path = stem.with_suffix(".npy")
        np.save(path, np.array(example["array"], dtype=example["type"]))
    else:
        path = stem.with_suffix(".json")
        path.write_text(json.dumps(example))
    return {"artifacts": files["artifacts"], "example": str(path), "requirements": files["requirements"]}
