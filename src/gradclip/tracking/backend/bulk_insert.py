"""Starts and ends of many runs in one transaction, past MLflow's client; imported only where a database is written to.

MLflow's own calls look at every point several times, to see what is there already; where nothing is there yet that is
most of the time, and each call is a transaction of its own. The tables are compared with what is expected first.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple
from uuid import uuid4

from mlflow.exceptions import MlflowException
from sqlalchemy import Connection, MetaData, Table, insert, inspect, select, update

from gradclip.tracking.backend.database import engine_of
from gradclip.tracking.records import RunEnd

LARGEST = 1.7976931348623157e308  # MLflow stores infinity as the largest number
RUN_NAME = "mlflow.runName"  # the tag that MLflow's pages show
COPIED = {  # of tables whose rows are changed or copied: what is replaced in them, as of MLflow 3.17
    "runs": {"run_uuid", "name", "artifact_uri", "status", "start_time", "end_time", "lifecycle_stage"},
    "inputs": {"input_uuid", "destination_type", "destination_id"},
    "input_tags": {"input_uuid"},
}
COLUMNS = {  # of all other tables that are written; what MLflow fills in itself must be there too
    "params": {"key", "value", "run_uuid"},
    "metrics": {"key", "value", "timestamp", "run_uuid", "step", "is_nan"},
    "latest_metrics": {"key", "value", "timestamp", "run_uuid", "step", "is_nan"},
    "tags": {"key", "value", "run_uuid"},
}


class NewRun(NamedTuple):
    """A run that is to be created; ``start`` in milliseconds since 1970."""

    run_id: str
    name: str
    tags: Mapping[str, str]
    parameters: Mapping[str, str]
    start: int


@cache
def tables_of(uri: str) -> dict[str, Table] | None:
    """The tables that runs are inserted into; None, with a warning, where they are not as expected.

    Args:
        uri: of a database store.
    """
    engine = engine_of(uri)
    inspector = inspect(engine)
    for name, expected in {**COPIED, **COLUMNS}.items():
        found = {column["name"]: column for column in inspector.get_columns(name)}
        required = {key for key, column in found.items() if not column["nullable"] and column["default"] is None}
        if name in COPIED:
            required = set()
        if not required <= expected <= found.keys():
            difference = ", ".join(sorted(expected - found.keys()) or sorted(required - expected))
            changed = f"MLflow's table {name} has changed ({difference}); runs are written call by call, slower"
            warnings.warn(changed, stacklevel=2)
            return None
    metadata = MetaData()
    return {name: Table(name, metadata, autoload_with=engine) for name in (*COPIED, *COLUMNS)}


def insert_starts(uri: str, template: str, own_tags: Mapping[str, str], new: Sequence[NewRun]) -> list[str] | None:
    """Insert runs like one that MLflow has just created, in one transaction, with their parameters and data sets.

    Args:
        uri: of a database store.
        template: id of that run; the new ones get its experiment, its data sets and the tags that MLflow gave it.
        own_tags: the tags of that run that the new ones do not get.
        new: the runs.

    Returns:
        Where the artifacts of each new run are; None where the tables are not as expected.

    Raises:
        SQLAlchemyError: the database failed; nothing was written.
    """
    tables = tables_of(uri)
    if tables is None:
        return None
    runs, tags, inputs, input_tags = (tables[name] for name in ("runs", "tags", "inputs", "input_tags"))
    with engine_of(uri).begin() as connection:
        run = _rows(connection, runs, runs.c.run_uuid == template)[0]
        shared = {
            row["key"]: row["value"]
            for row in _rows(connection, tags, tags.c.run_uuid == template)
            if row["key"] not in own_tags
        }
        read = _rows(connection, inputs, (inputs.c.destination_id == template) & (inputs.c.destination_type == "RUN"))
        read_tags = _rows(connection, input_tags, input_tags.c.input_uuid.in_([row["input_uuid"] for row in read]))
        rows: dict[Table, list[dict[str, Any]]] = {table: [] for table in tables.values()}
        for one in new:
            location = run["artifact_uri"].replace(template, one.run_id)
            changes = {"run_uuid": one.run_id, "name": one.name, "start_time": one.start, "artifact_uri": location}
            rows[runs].append({**run, **changes})
            rows[tags] += _texts(one.run_id, {**shared, RUN_NAME: one.name, **one.tags})
            rows[tables["params"]] += _texts(one.run_id, one.parameters)
            ids = {row["input_uuid"]: uuid4().hex for row in read}
            rows[inputs] += [
                {**row, "input_uuid": ids[row["input_uuid"]], "destination_id": one.run_id} for row in read
            ]
            rows[input_tags] += [{**row, "input_uuid": ids[row["input_uuid"]]} for row in read_tags]
        for table, some in rows.items():
            _insert(connection, table, some)
    return [str(row["artifact_uri"]) for row in rows[runs]]


def insert_ends(uri: str, ends: Sequence[tuple[str, RunEnd]]) -> bool:
    """Insert new points and tags of runs, and set the runs to FINISHED: all or nothing, in one transaction.

    Args:
        uri: of a database store.
        ends: the id of each run, and what is written.

    Returns:
        Whether it was written; False where the tables are not as expected.

    Raises:
        MlflowException: a run is deleted.
        SQLAlchemyError: the database failed, or a point is there already; nothing was written.
    """
    tables = tables_of(uri)
    if tables is None:
        return False
    points: list[dict[str, Any]] = []
    latest: list[dict[str, Any]] = []
    for run_id, end in ends:
        rows = _points(run_id, end)
        points += rows
        latest += {row["key"]: row for row in rows}.values()  # of a final metric at step 0 and a curve, the last point
    points.sort(key=lambda row: (row["key"], row["timestamp"], row["step"]))  # the order of the table's index
    runs = tables["runs"]
    with engine_of(uri).begin() as connection:
        for run_id, end in ends:
            is_active = (runs.c.run_uuid == run_id) & (runs.c.lifecycle_stage == "active")
            ended = connection.execute(update(runs).where(is_active).values(status="FINISHED", end_time=end.end))
            if ended.rowcount != 1:
                raise MlflowException(f"Run {run_id} is not there any more")
        _insert(connection, tables["metrics"], points)
        _insert(connection, tables["latest_metrics"], latest)
        _insert(connection, tables["tags"], [row for run_id, end in ends for row in _texts(run_id, end.tags)])
    return True


def _rows(connection: Connection, table: Table, condition: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(select(table).where(condition)).mappings()]


def _insert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that have the same columns; as tuples where the driver takes them, which is several times quicker."""
    if not rows:
        return
    compiled = insert(table).compile(connection.engine, column_keys=list(rows[0]))
    if compiled.positional and compiled.positiontup:
        columns = compiled.positiontup
        connection.exec_driver_sql(str(compiled), [tuple(row[column] for column in columns) for row in rows])
    else:
        connection.execute(insert(table), rows)


def _texts(run_id: str, texts: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"run_uuid": run_id, "key": key, "value": value} for key, value in texts.items()]


def _points(run_id: str, end: RunEnd) -> list[dict[str, Any]]:
    rows = [_metric_row(run_id, key, value, end.end, 0) for key, value in end.summary.items()]
    for key, curve in end.curves.items():
        points = zip(curve.step.tolist(), curve.value.tolist(), strict=True)
        rows += [_metric_row(run_id, key, value, end.timestamp, step) for step, value in points]
    return rows


def _metric_row(run_id: str, key: str, value: float, timestamp: int, step: int) -> dict[str, Any]:
    """A row as MLflow's ``sanitize_metric_value`` would write it."""
    is_nan = math.isnan(value)
    stored = 0.0 if is_nan else min(max(value, -LARGEST), LARGEST)
    return {"run_uuid": run_id, "key": key, "value": stored, "is_nan": is_nan, "timestamp": timestamp, "step": step}
