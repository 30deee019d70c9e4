"""Bulk inserts of starts and ends of runs, in one transaction that bypasses MLflow's client.

MLflow's own calls check several times whether each point exists already, which takes most of the time for new runs, and
each call is a separate transaction. The tables are compared with the expected ones first.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
from mlflow.exceptions import MlflowException
from sqlalchemy import Connection, Table, insert, select, update

from gradclip.tracking.backend.database import engine_of
from gradclip.tracking.backend.tables import METRIC_COLUMNS, TEXT_COLUMNS, tables_of
from gradclip.tracking.records import RunEnd
from gradclip.tracking.stored_runs import Curve

MetricRow = tuple[str, str, int, int, float, bool]
LARGEST = 1.7976931348623157e308  # MLflow stores infinity as the largest finite number
RUN_NAME = "mlflow.runName"  # the tag that the MLflow UI shows
SQLITE_CACHE = 2**17  # KiB at most; with SQLite's default of 2,000, each page is written and read again many times


class NewRun(NamedTuple):
    """A run to create; ``start`` in milliseconds since 1970."""

    run_id: str
    name: str
    tags: Mapping[str, str]
    parameters: Mapping[str, str]
    start: int


def insert_starts(uri: str, template: str, own_tags: Mapping[str, str], new: Sequence[NewRun]) -> dict[str, str] | None:
    """Insert runs like one that MLflow has just created, with parameters and data sets, in one transaction.

    Args:
        uri: URI of a database store.
        template: id of that run; the new runs get its experiment, its data sets and the tags that MLflow gave it.
        own_tags: tags of that run that the new runs do not get.
        new: the runs to insert.

    Returns:
        The location of each new run's artifacts, by id; None if the tables are not as expected.

    Raises:
        SQLAlchemyError: the database failed; nothing was written.
    """
    tables = tables_of(uri)
    if tables is None:
        return None
    runs, tags = tables["runs"], tables["tags"]
    with _transaction(uri) as connection:
        (run,) = _rows(connection, runs, runs.c.run_uuid == template)
        found = _rows(connection, tags, tags.c.run_uuid == template)
        shared = {row["key"]: row["value"] for row in found if row["key"] not in own_tags}
        copies = [
            {**run, "run_uuid": one.run_id, "name": one.name, "start_time": one.start}
            | {"artifact_uri": run["artifact_uri"].replace(template, one.run_id)}
            for one in new
        ]
        all_tags = {one.run_id: {**shared, RUN_NAME: one.name, **one.tags} for one in new}
        _insert_copies(connection, runs, copies)
        _insert_texts(connection, tags, all_tags)
        _insert_texts(connection, tables["params"], {one.run_id: one.parameters for one in new})
        _copy_inputs(connection, tables, template, list(all_tags))
    return {copy["run_uuid"]: copy["artifact_uri"] for copy in copies}


def _copy_inputs(connection: Connection, tables: Mapping[str, Table], template: str, run_ids: Sequence[str]) -> None:
    """Link runs to the data sets that another run reads."""
    inputs, input_tags = tables["inputs"], tables["input_tags"]
    read = _rows(connection, inputs, (inputs.c.destination_id == template) & (inputs.c.destination_type == "RUN"))
    read_tags = _rows(connection, input_tags, input_tags.c.input_uuid.in_([row["input_uuid"] for row in read]))
    copies, copied_tags = [], []
    for run_id in run_ids:
        ids = {row["input_uuid"]: uuid4().hex for row in read}
        copies += [{**row, "input_uuid": ids[row["input_uuid"]], "destination_id": run_id} for row in read]
        copied_tags += [{**row, "input_uuid": ids[row["input_uuid"]]} for row in read_tags]
    _insert_copies(connection, inputs, copies)
    _insert_copies(connection, input_tags, copied_tags)


def insert_ends(uri: str, ends: Sequence[tuple[str, RunEnd]]) -> bool:
    """Insert new points and tags of runs, given by id, and set the runs to FINISHED, in one transaction.

    Returns:
        True if everything was written, False if the tables are not as expected.

    Raises:
        MlflowException: a run is deleted; nothing was written.
        SQLAlchemyError: the database failed, or a point exists already; nothing was written.
    """
    tables = tables_of(uri)
    if tables is None:
        return False
    points: dict[str, list[MetricRow]] = defaultdict(list)  # by metric, in the order of the table's index
    latest: list[MetricRow] = []
    ended_at: dict[int, list[str]] = defaultdict(list)
    for run_id, end in ends:
        ended_at[end.end].append(run_id)
        rows = _points(run_id, end)
        for key, some in rows.items():
            points[key] += some
        latest += [some[-1] for some in rows.values()]  # the curve's last point, if there is a final value too
    metrics = [row for key in sorted(points) for row in points[key]]
    runs = tables["runs"]
    with _transaction(uri) as connection:
        for time, ids in ended_at.items():
            are_active = runs.c.run_uuid.in_(ids) & (runs.c.lifecycle_stage == "active")
            ended = connection.execute(update(runs).where(are_active).values(status="FINISHED", end_time=time))
            if ended.rowcount != len(ids):
                raise MlflowException("A run does not exist any more")
        _insert(connection, tables["metrics"], METRIC_COLUMNS, metrics)
        _insert(connection, tables["latest_metrics"], METRIC_COLUMNS, latest)
        _insert_texts(connection, tables["tags"], {run_id: end.tags for run_id, end in ends})
    return True


@contextmanager
def _transaction(uri: str) -> Iterator[Connection]:
    with engine_of(uri).begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(f"PRAGMA cache_size = -{SQLITE_CACHE}")
        yield connection


def _rows(connection: Connection, table: Table, condition: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(select(table).where(condition)).mappings()]


def _insert(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows of at least two columns; as tuples if the driver accepts them, which is several times faster."""
    if not rows:
        return
    compiled = insert(table).compile(connection.engine, column_keys=columns)
    if compiled.positional and compiled.positiontup:
        ordered = map(itemgetter(*map(columns.index, compiled.positiontup)), rows)
        connection.exec_driver_sql(str(compiled), [*ordered])
    else:
        connection.execute(insert(table), [dict(zip(columns, row, strict=True)) for row in rows])


def _insert_copies(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        _insert(connection, table, list(rows[0]), [tuple(row.values()) for row in rows])


def _insert_texts(connection: Connection, table: Table, texts: Mapping[str, Mapping[str, str]]) -> None:
    """Insert texts by run id and key."""
    rows = [(run_id, key, value) for run_id, some in texts.items() for key, value in some.items()]
    _insert(connection, table, TEXT_COLUMNS, rows)


def _points(run_id: str, end: RunEnd) -> dict[str, list[MetricRow]]:
    """Return the rows of each metric, as MLflow's ``sanitize_metric_value`` would write them."""
    rows: dict[str, list[MetricRow]] = defaultdict(list)
    for key, value in end.summary.items():
        rows[key] += _metric_rows(run_id, key, end.end, Curve(np.zeros(1, dtype=np.int64), np.array([value])))
    for key, curve in end.curves.items():
        rows[key] += _metric_rows(run_id, key, end.timestamp, curve)
    return {key: some for key, some in rows.items() if some}


def _metric_rows(run_id: str, key: str, timestamp: int, curve: Curve) -> Iterator[MetricRow]:
    is_nan = np.isnan(curve.value)
    stored = np.where(is_nan, 0.0, np.clip(curve.value, -LARGEST, LARGEST))
    columns = curve.step.tolist(), stored.tolist(), is_nan.tolist()
    return zip(repeat(run_id), repeat(key), repeat(timestamp), *columns, strict=False)
