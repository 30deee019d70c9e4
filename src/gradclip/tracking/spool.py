"""Writes that the store did not take, in a file beside the run: data only, in order, taken in exactly once later.

Every write can be repeated without harm: a point, parameter, tag or file that is there already stays as it is, and a
run is known by a tag of ours. So a spool that was taken in half is taken in again from its beginning.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from io import StringIO
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from gradclip import keys
from gradclip.tracking.records import RUN_FILE, SPOOL_FILE, Call, ModelFiles, Parent, Store

Perform = Callable[[Call], Any]
PAUSE = 2.0  # seconds between two tries to take in a spool while its run goes on


class Spool:
    """The file of one run.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / SPOOL_FILE
        self._lock = FileLock(f"{self.path}.lock")
        self._next_try = time.monotonic() + PAUSE
        self._creation = ""

    def __len__(self) -> int:
        return sum(1 for _ in self._lines())

    @property
    def is_due(self) -> bool:
        """Whether it is time to try again."""
        return time.monotonic() >= self._next_try

    def id_of(self, run_id: str) -> str:
        """The id of a run, or its own for one of ours, once it was created from here by this process or another."""
        if run_id != self._creation or self.path.exists():
            return run_id
        return str(json.loads((self.folder / RUN_FILE).read_text())["run_id"])

    def add(self, call: Call) -> None:
        """Append a write, on disk before this returns.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock:
            whole = self.path.stat().st_size if self.path.exists() else 0
            try:
                _append(self.path, f"{json.dumps(_encode(call, self.folder))}\n")
            except OSError:
                os.truncate(self.path, whole)  # half a line would spoil the next one
                raise
        if call.function_name == "create_run":
            self._creation = call.arguments[1][keys.CREATION]

    def replay(self, perform: Perform) -> int:
        """Perform all writes in order, remove the file, and return how many there were.

        Args:
            perform: does one; what it raises ends the attempt, and the file stays.
        """
        self._next_try = time.monotonic() + PAUSE
        created = ""
        with self._lock:
            calls = [_decode(json.loads(line)) for line in self._lines()]
            for call in calls:
                if call.function_name == "create_run":
                    created = perform(call)
                    (self.folder / RUN_FILE).write_text(json.dumps({"run_id": created}))
                else:
                    perform(call._replace(run_id=created or call.run_id))
            self.path.unlink(missing_ok=True)
        Path(self._lock.lock_file).unlink(missing_ok=True)
        return len(calls)

    def _lines(self) -> Iterator[str]:
        """The whole lines; one that was cut short by a loss of power is no write."""
        if self.path.exists():
            with self.path.open() as file:
                yield from (line for line in file if line.endswith("\n"))


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _encode(call: Call, folder: Path) -> dict[str, Any]:
    """A write as plain data; a model's files, which are elsewhere, are copied beside the run."""
    arguments = list(call.arguments)
    if call.function_name == "write_model":
        files: ModelFiles = arguments[0]
        copies = {name: _copy(Path(path), folder / "unsent_model" / name) for name, path in files.artifacts.items()}
        tables = {"example": _plain(files.example), "prediction": _plain(files.prediction)}
        arguments = [files._replace(artifacts=copies, **tables)._asdict()]
    if call.function_name == "write_datasets":
        arguments = [_encode_datasets(arguments[0])]
    return {**call._asdict(), "store": call.store._asdict(), "arguments": arguments}


def _decode(line: dict[str, Any]) -> Call:
    arguments = line["arguments"]
    match line["function_name"]:
        case "write_model":
            files = arguments[0]
            tables = {name: _table(files[name]) for name in ("example", "prediction")}
            arguments = [ModelFiles(**{**files, **tables})]
        case "write_datasets":
            arguments = [_decode_datasets(arguments[0])]
        case "create_run":
            name, tags, parent, *start = arguments
            arguments = [name, tags, Parent(*parent) if parent else None, *start]
    return Call(**{**line, "store": Store(**line["store"]), "arguments": tuple(arguments)})


def _encode_datasets(datasets: Any) -> Any:
    """What MLflow is told of rows, not the rows."""
    from gradclip.tracking.backend.writes import dataset_inputs

    return [data.to_dictionary() for data in dataset_inputs(datasets)]


def _decode_datasets(datasets: Any) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return [DatasetInput(Dataset(**data["dataset"]), [*starmap(InputTag, data["tags"].items())]) for data in datasets]


def _copy(source: Path, target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())
    return str(target)


def _plain(table: "pd.DataFrame | np.ndarray[Any, Any] | None") -> Any:
    if isinstance(table, pd.DataFrame):
        types = {name: str(kind) for name, kind in table.dtypes.items()}
        return {"frame": table.to_json(orient="split", double_precision=15), "types": types}
    return None if table is None else {"array": table.tolist(), "type": str(table.dtype)}


def _table(plain: Any) -> Any:
    if plain is None:
        return None
    if "array" in plain:
        return np.array(plain["array"], dtype=plain["type"])
    return pd.read_json(StringIO(plain["frame"]), orient="split", convert_dates=False).astype(plain["types"])
