"""MLflow's tables, compared with the expected columns before bulk reads and writes."""

import warnings
from functools import cache

from sqlalchemy import MetaData, Table

from gradclip.tracking.backend.database import engine_of

METRIC_COLUMNS = ("run_uuid", "key", "timestamp", "step", "value", "is_nan")
TEXT_COLUMNS = ("run_uuid", "key", "value")
COLUMNS = {  # the columns that we name, as of MLflow 3.17
    "runs": {
        *("run_uuid", "experiment_id", "user_id", "name", "artifact_uri"),
        *("status", "start_time", "end_time", "lifecycle_stage"),
    },
    "inputs": {"input_uuid", "source_id", "destination_type", "destination_id"},
    "input_tags": {"input_uuid", "name", "value"},
    "datasets": {"dataset_uuid", "name", "digest", "dataset_source_type", "dataset_source", "dataset_profile"},
    "params": {*TEXT_COLUMNS},
    "metrics": {*METRIC_COLUMNS},
    "latest_metrics": {*METRIC_COLUMNS},
    "tags": {*TEXT_COLUMNS},
}
WRITTEN = {"params", "metrics", "latest_metrics", "tags"}  # tables with rows of our own: no other column needs a value


@cache
def tables_of(uri: str) -> dict[str, Table] | None:
    """Return the tables of a database that hold runs; None, with a warning, if they are not as expected."""
    engine, metadata = engine_of(uri), MetaData()
    tables = {name: Table(name, metadata, autoload_with=engine) for name in COLUMNS}
    for name, expected in COLUMNS.items():
        found = {column.name: column for column in tables[name].columns}
        needs_value = {key for key, column in found.items() if not column.nullable and column.server_default is None}
        required = needs_value if name in WRITTEN else set()
        if not required <= expected <= found.keys():
            difference = ", ".join(sorted(expected - found.keys()) or sorted(required - expected))
            changed = f"MLflow's table {name} has changed ({difference}); runs are written and read one by one, slowly"
            warnings.warn(changed, stacklevel=2)
            return None
    return tables
