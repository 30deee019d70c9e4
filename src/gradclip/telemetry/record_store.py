"""Storage for the blocks of a growing record: the latest in memory, earlier ones in NumPy files."""

import math
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gradclip.telemetry.record import GradientRecord

SPILL_BYTES = 8_000_000  # memory limit of the blocks, and of their size in each checkpoint


class RecordStore:
    """The blocks of a record, in order; blocks that exceed a memory limit move to a file in a separate folder.

    Args:
        limit: memory limit of the blocks, in bytes.
    """

    def __init__(self, limit: float = SPILL_BYTES) -> None:
        self.limit = limit
        self._blocks: list[GradientRecord] = []
        self._bytes = 0
        self._files: list[tuple[Path, tuple[str, ...]]] = []  # each with the names of its parameters
        self._folder: Path | None = None

    @property
    def names(self) -> list[str]:
        """Names of all recorded parameters, in order of first appearance."""
        in_files = [name for _, names in self._files for name in names]
        return [*dict.fromkeys([*in_files, *self._names_in_memory()])]

    def append(self, block: GradientRecord, place: Path) -> None:
        """Add a block.

        Args:
            block: the steps that follow the stored ones.
            place: where the folder of files is created, if files are needed.
        """
        self._blocks.append(block)
        self._bytes += _bytes(block)
        if self._bytes > self.limit:
            self._write(place)

    def read(self, names: tuple[str, ...]) -> GradientRecord:
        """Return the whole record with the parameters in this order; files are read into memory."""
        return GradientRecord.join(names, [*(_read(path) for path, _ in self._files), *self._blocks])

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint: the blocks in memory, and the paths of the files."""
        latest = self._latest()
        columns = {name: torch.from_numpy(getattr(latest, name)) for name in GradientRecord.columns()}
        return {"names": list(latest.names), "columns": columns, "files": [str(path) for path, _ in self._files]}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state; files that are missing or damaged are left out with a warning."""
        columns = {name: column.numpy() for name, column in state["columns"].items()}
        self._files = []
        for path in map(Path, state["files"]):
            try:
                self._files.append((path, _read(path).names))
            except Exception as error:  # NumPy reports damage by errors of many types
                what = "not found" if isinstance(error, FileNotFoundError) else "damaged"
                warnings.warn(f"{path}: {what}; the record continues without these earlier steps", stacklevel=2)
        block = GradientRecord(tuple(state["names"]), **columns)
        self._blocks, self._bytes = [block], _bytes(block)

    def _names_in_memory(self) -> tuple[str, ...]:
        return (*dict.fromkeys(name for block in self._blocks for name in block.names),)

    def _latest(self) -> GradientRecord:
        """Return the blocks in memory as one record."""
        return GradientRecord.join(self._names_in_memory(), self._blocks)

    def _write(self, place: Path) -> None:
        """Write the blocks in memory to a file; if that fails, keep them in memory, so that the training continues."""
        record = self._latest()
        try:
            if self._folder is None:
                place.mkdir(parents=True, exist_ok=True)
                self._folder = Path(tempfile.mkdtemp(prefix="gradient-record-", dir=place)).resolve()
            path = self._folder / f"from-step-{int(record.step[0])}.npz"
            columns = {name: getattr(record, name) for name in record.columns()}
            np.savez(path, names=np.array(record.names, dtype=np.str_), **columns)
        except (OSError, ImportError) as error:  # such as a full disk
            self.limit = math.inf
            warnings.warn(f"{place}: cannot be written, so the record stays in memory: {error}", stacklevel=2)
            return
        self._files.append((path, record.names))
        self._blocks, self._bytes = [], 0


def _bytes(block: GradientRecord) -> int:
    return sum(getattr(block, column).nbytes for column in GradientRecord.columns())


def _read(path: Path) -> GradientRecord:
    with np.load(path) as file:
        return GradientRecord(tuple(file["names"].tolist()), *(file[name] for name in GradientRecord.columns()))
