"""Readers of logs: CSV, JSON lines, the trainer state of Hugging Face, TensorBoard event files.

Files come from untrusted sources: only numbers and names are read, from files of limited size.
"""

import json
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradclip.arrays import Floats
from gradclip.diagnosis.log import JOINED_STEP
from gradclip.errors import DataError, first_line

MAX_BYTES = 500 * 1024**2  # largest file; a million steps of five numbers take a tenth of it
MAX_CELLS = 250_000_000  # two gigabytes of numbers, which a small file with many short or compressed rows may expand to
EVENT_FILE = ".tfevents."  # part of the name of every TensorBoard event file
Columns = dict[str, NDArray[Any]]
Cell = float | int | str | None


def read_log(path: Path) -> Columns:
    """Read the columns of a log, by their names in the file; missing cells are None.

    Args:
        path: a file that ends in .csv, .jsonl, .ndjson or .json; a TensorBoard event file, or a folder with the event
            files of one run.

    Raises:
        DataError: there is no such file, it cannot be read, or it has no rows.
    """
    reader = _reader_of(path)
    if path.is_file() and not path.stat().st_size:
        raise DataError(f"log: got '{path}'; the file is empty")
    try:
        columns = reader(path)
    except (ValueError, TypeError, LookupError, ArithmeticError, OSError, RecursionError) as error:
        raise DataError(f"log: got '{path}'; cannot be read: {first_line(error)}") from error
    if not any(len(column) for column in columns.values()):
        raise DataError(f"log: got '{path}'; it has no rows")
    return columns


def _reader_of(path: Path) -> Callable[[Path], Columns]:
    try:
        if path.is_dir():
            return _read_events
        if not path.exists():
            raise DataError(f"log: got '{path}'; there is no such file")
        if not path.is_file():
            raise DataError(f"log: got '{path}'; must be a file or a folder")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise DataError(f"log: got '{path}' of {size:,} bytes; at most {MAX_BYTES:,} are read")
    except (OSError, ValueError) as error:  # the name is too long, or a folder cannot be entered
        raise DataError(f"log: got '{path}'; {getattr(error, 'strerror', None) or first_line(error)}") from error
    if EVENT_FILE in path.name:
        return _read_events
    readers = {".csv": _read_csv, ".jsonl": _read_json_lines, ".ndjson": _read_json_lines, ".json": _read_json}
    if path.suffix.lower() not in readers:
        allowed = f"must end in {', '.join(readers)}, or be a TensorBoard event file or its folder"
        raise DataError(f"log: got '{path}'; {allowed}")
    return readers[path.suffix.lower()]


def _read_csv(path: Path) -> Columns:
    """Read a CSV file; only empty cells are missing, since a norm may be NaN."""
    import pandas as pd  # imported here since the rest of diagnosis needs torch and NumPy only

    with path.open("rb") as file:
        check_cells(file.readline().count(b",") + 1, sum(1 for _ in file))
    try:
        with warnings.catch_warnings(category=pd.errors.ParserWarning, action="error"):
            frame = pd.read_csv(path, index_col=False, keep_default_na=False, na_values=[""], low_memory=False)
    except pd.errors.ParserWarning as error:
        raise ValueError("a row has more cells than the header") from error
    missing = {name: column.isna() for name, column in frame.items() if column.isna().any()}
    for name, where in missing.items():
        frame[name] = frame[name].astype(object).mask(where, None)
    return {str(name): column.to_numpy() for name, column in frame.items()}


def _read_json_lines(path: Path) -> Columns:
    with path.open() as lines:
        return _to_columns(_parse(line, number) for number, line in enumerate(lines, start=1) if line.strip())


def _parse(line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number}, column {error.colno}: {error.msg.removesuffix(' at')}") from error


def _read_json(path: Path) -> Columns:
    """Read a list of rows, or the ``log_history`` of a Hugging Face trainer's state."""
    content = json.loads(path.read_text())
    rows = content.get("log_history") if isinstance(content, Mapping) else content
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        raise ValueError("neither a list of rows nor a trainer state with a log_history")
    return _to_columns(rows)


def check_cells(columns: int, rows: int) -> None:
    """Refuse a table that may not fit in memory: missing cells take memory too, but no space in a file.

    Raises:
        ValueError: it has too many cells.
    """
    if columns * rows > MAX_CELLS:
        raise ValueError(f"it has {columns * rows:,} cells; at most {MAX_CELLS:,} are read")


def _to_columns(rows: Iterable[Any]) -> Columns:
    """Convert rows, each a mapping, to columns; keys of an inner mapping become ``outer/inner``."""
    columns: dict[str, list[Cell]] = {}
    count = 0
    for count, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise ValueError(f"row {count} is not a mapping of names to numbers")
        check_cells(len(columns), count)
        for name, value in _flat(row):
            if name not in columns:
                check_cells(len(columns) + 1, count)
            column = columns.setdefault(name, [])
            column.extend([None] * (count - 1 - len(column)))
            column.append(value)
    return {name: _to_array(column, count) for name, column in columns.items()}


def _flat(row: Mapping[str, Any]) -> Iterable[tuple[str, Cell]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{inner}", cell) for inner, cell in value.items() if _is_cell(cell))
        elif _is_cell(value):
            yield name, value


def _is_cell(value: object) -> bool:
    return value is None or isinstance(value, float | int | str)


def _to_array(column: list[Cell], rows: int) -> NDArray[Any]:
    column.extend([None] * (rows - len(column)))
    is_numeric = all(isinstance(value, float | int) for value in column)
    return np.array(column, dtype=float if is_numeric else object)


def _read_events(path: Path) -> Columns:
    """Read the scalars of TensorBoard event files, one row for each step with a scalar."""
    try:
        from tensorboard.backend.event_processing.event_accumulator import SCALARS, TENSORS, EventAccumulator
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError as error:
        raise DataError(
            f"log: got '{path}'; event files need TensorBoard: python -m pip install tensorboard"
        ) from error
    events = EventAccumulator(str(_only_events(path)), size_guidance={SCALARS: 0, TENSORS: 0})
    events.Reload()
    tags = events.Tags()
    scalars = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags["scalars"]}
    for tag in tags["tensors"]:
        tensors = [(event.step, event.tensor_proto) for event in events.Tensors(tag)]
        if not all(math.prod(one.size for one in tensor.tensor_shape.dim) == 1 for _, tensor in tensors):
            continue  # before it is read: a few bytes can stand for an array of any size
        arrays = [(step, make_ndarray(tensor)) for step, tensor in tensors]
        if all(array.dtype.kind in "fiu" for _, array in arrays):
            scalars[tag] = [(step, float(array.reshape(()))) for step, array in arrays]
    return join_points({tag: tuple(np.array(points, dtype=float).T) for tag, points in scalars.items()})


def join_points(curves: Mapping[str, tuple[NDArray[Any], Floats]]) -> Columns:
    """Join the curves of one training run into columns, one row for each step that occurs in a curve.

    Args:
        curves: steps and values, ``[points]`` each, by name.
    """
    steps = np.unique(np.concatenate([step for step, _ in curves.values()])) if curves else np.empty(0)
    columns: Columns = {JOINED_STEP: steps}
    for name, (step, values) in curves.items():
        if name == JOINED_STEP:
            continue
        column = np.full(len(steps), None, dtype=object)
        column[np.searchsorted(steps, step)] = values
        columns[name] = column
    return columns


def _only_events(path: Path) -> Path:
    """Return the file itself, or the only folder below the path with event files: one run's."""
    if path.is_file():
        return path
    folders = sorted({file.parent for file in path.rglob(f"*{EVENT_FILE}*")})
    if not folders:
        raise DataError(f"log: got '{path}'; the folder has no TensorBoard event files")
    if len(folders) > 1:
        names = ", ".join(str(folder.relative_to(path)) for folder in folders[:3])
        raise DataError(f"log: got '{path}'; it has event files of {len(folders)} runs, choose one: {names}")
    for file in folders[0].glob(f"*{EVENT_FILE}*"):
        if not file.is_file():  # TensorBoard would wait for a pipe
            raise DataError(f"log: got '{path}'; {file.name} is not a regular file")
    size = sum(file.stat().st_size for file in folders[0].iterdir() if file.is_file())
    if size > MAX_BYTES:
        raise DataError(f"log: got '{path}' of {size:,} bytes; at most {MAX_BYTES:,} are read")
    return folders[0]
