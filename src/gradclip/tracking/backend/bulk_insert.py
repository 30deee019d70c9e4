"""The end of a run in one transaction, past MLflow's client; imported only where a database is written to at once.

MLflow's own calls look at every point several times, to see what is there already; where nothing is there yet that is
most of the time. The tables are compared with what is expected first.
"""

import math
import warnings
from functools import cache
from typing import Any

from mlflow.exceptions import MlflowException
from sqlalchemy import MetaData, Table, insert, inspect, update

from gradclip.tracking.backend.database import engine_of
from gradclip.tracking.records import RunEnd

LARGEST = 1.7976931348623157e308  # MLflow stores infinity as the largest number
COLUMNS = {  # of each table that is written, as of MLflow 3.17; what MLflow fills in itself must be there too
    "runs": {"run_uuid", "status", "end_time", "lifecycle_stage"},
    "metrics": {"key", "value", "timestamp", "run_uuid", "step", "is_nan"},
    "latest_metrics": {"key", "value", "timestamp", "run_uuid", "step", "is_nan"},
    "tags": {"key", "value", "run_uuid"},
}


@cache
def tables_of(uri: str) -> dict[str, Table] | None:
    """The tables that a run's end is inserted into; None, with a warning, where they are not as expected.

    Args:
        uri: of a database store.
    """
    engine = engine_of(uri)
    inspector = inspect(engine)
    for name, expected in COLUMNS.items():
        found = {column["name"]: column for column in inspector.get_columns(name)}
        required = {key for key, column in found.items() if not column["nullable"] and column["default"] is None}
        if name == "runs":  # of which rows are updated
            required = set()
        if not required <= expected <= found.keys():
            difference = ", ".join(sorted(expected - found.keys()) or sorted(required - expected))
            changed = f"MLflow's table {name} has changed ({difference}); runs are written call by call, slower"
            warnings.warn(changed, stacklevel=2)
            return None
    metadata = MetaData()
    return {name: Table(name, metadata, autoload_with=engine) for name in COLUMNS}


def insert_end(uri: str, run_id: str, end: RunEnd) -> bool:
    """Insert points and tags, all of them new, and set the run to FINISHED: all or nothing, in one transaction.

    Args:
        uri: of a database store.
        run_id: the run.
        end: what is written.

    Returns:
        Whether it was written; False where the tables are not as expected.

    Raises:
        MlflowException: the run is deleted.
        SQLAlchemyError: the database failed, or a point is there already; nothing was written.
    """
    tables = tables_of(uri)
    if tables is None:
        return False
    rows = [_metric_row(run_id, key, value, end.end, 0) for key, value in end.summary.items()]
    for key, curve in end.curves.items():
        points = zip(curve.step.tolist(), curve.value.tolist(), strict=True)
        rows += [_metric_row(run_id, key, value, end.timestamp, step) for step, value in points]
    latest = {row["key"]: row for row in rows}  # of a final metric at step 0 and a curve, the curve's last point
    tags = [{"run_uuid": run_id, "key": key, "value": value} for key, value in end.tags.items()]
    runs = tables["runs"]
    is_active = (runs.c.run_uuid == run_id) & (runs.c.lifecycle_stage == "active")
    with engine_of(uri).begin() as connection:
        ended = connection.execute(update(runs).where(is_active).values(status="FINISHED", end_time=end.end))
        if ended.rowcount != 1:
            raise MlflowException(f"Run {run_id} is not there any more")
        connection.execute(insert(tables["metrics"]), rows)
        connection.execute(insert(tables["latest_metrics"]), list(latest.values()))
        connection.execute(insert(tables["tags"]), tags)
    return True


def _metric_row(run_id: str, key: str, value: float, timestamp: int, step: int) -> dict[str, Any]:
    """A row as MLflow's ``sanitize_metric_value`` would write it."""
    is_nan = math.isnan(value)
    stored = 0.0 if is_nan else min(max(value, -LARGEST), LARGEST)
    return {"run_uuid": run_id, "key": key, "value": stored, "is_nan": is_nan, "timestamp": timestamp, "step": step}
