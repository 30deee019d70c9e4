"""Bulk reads of runs from a database, bypassing MLflow's client, which takes milliseconds for each run."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunData, RunInfo, RunInputs, RunTag
from sqlalchemy import Connection, Select, Table, select

from gradclip import keys
from gradclip.tracking.backend.database import engine_of
from gradclip.tracking.backend.tables import METRIC_COLUMNS, TEXT_COLUMNS

T = TypeVar("T")


def read_children(uri: str, tables: Mapping[str, Table], experiment_id: str, parent: str) -> list[Run]:
    """Return the runs of a multirun as MLflow's search does, oldest first.

    Args:
        uri: URI of a database store.
        tables: the store's tables.
        experiment_id: id of the experiment to search.
        parent: id of the parent run.

    Raises:
        SQLAlchemyError: the database failed.
    """
    runs, tags = tables["runs"].c, tables["tags"].c
    children = select(tags.run_uuid).where((tags.key == keys.PARENT_RUN) & (tags.value == parent))
    is_active = (runs.lifecycle_stage == "active") & (runs.experiment_id == int(experiment_id))
    infos = select(
        *(runs.run_uuid, runs.experiment_id, runs.user_id, runs.status, runs.start_time, runs.end_time),
        *(runs.lifecycle_stage, runs.artifact_uri, runs.name),
    )
    infos = infos.where(runs.run_uuid.in_(children) & is_active).order_by(runs.start_time, runs.run_uuid)

    def rows_of(name: str, columns: Sequence[str]) -> Select[Any]:
        table = tables[name].c
        return select(*(table[column] for column in columns)).where(table.run_uuid.in_(children))

    inputs, input_tags, datasets = (tables[name].c for name in ("inputs", "input_tags", "datasets"))
    columns = (datasets.name, datasets.digest, datasets.dataset_source_type, datasets.dataset_source)
    read = (
        select(inputs.destination_id, input_tags.name, input_tags.value, *columns, datasets.dataset_profile)
        .join_from(tables["inputs"], tables["datasets"], inputs.source_id == datasets.dataset_uuid)
        .join(tables["input_tags"], inputs.input_uuid == input_tags.input_uuid)
        .where(inputs.destination_id.in_(children))
    )
    with engine_of(uri).connect() as connection:
        texts = _by_run(connection, rows_of("params", TEXT_COLUMNS), Param)
        metrics = _by_run(connection, rows_of("latest_metrics", METRIC_COLUMNS), _metric)
        labels = _by_run(connection, rows_of("tags", TEXT_COLUMNS), RunTag)
        used = _by_run(connection, read, _input)
        return [
            Run(
                RunInfo(run_id, str(experiment), user, status, start, end, stage, artifact_uri=location, run_name=name),
                RunData(metrics[run_id], texts[run_id], labels[run_id]),
                RunInputs(used[run_id]),
            )
            for run_id, experiment, user, status, start, end, stage, location, name in connection.execute(infos)
        ]


def _by_run(connection: Connection, rows: Select[Any], make: Callable[..., T]) -> dict[str, list[T]]:
    """Convert the columns of each row after the first, and group the results by the first, the id of a run."""
    made: dict[str, list[T]] = defaultdict(list)
    for run_id, *values in connection.execute(rows):
        made[run_id].append(make(*values))
    return made


def _metric(key: str, timestamp: int, step: int, value: float, is_nan: bool) -> Metric:
    return Metric(key, np.nan if is_nan else value, timestamp, step)


def _input(tag: str, context: str, name: str, digest: str, kind: str, source: str, profile: str) -> DatasetInput:
    return DatasetInput(Dataset(name, digest, kind, source, profile=profile), [InputTag(tag, context)])


def read_histories(
    uri: str, tables: Mapping[str, Table], run_ids: Sequence[str], key: str
) -> dict[str, list[tuple[int, float]]]:
    """Return the steps and values of a metric, without NaN, by run id.

    Args:
        uri: URI of a database store.
        tables: the store's tables.
        run_ids: ids of the runs.
        key: name of the metric.

    Raises:
        SQLAlchemyError: the database failed.
    """
    rows = tables["metrics"].c
    is_wanted = (rows.key == key) & rows.run_uuid.in_(run_ids) & ~rows.is_nan
    histories: dict[str, list[tuple[int, float]]] = defaultdict(list)
    with engine_of(uri).connect() as connection:
        for run_id, step, value in connection.execute(select(rows.run_uuid, rows.step, rows.value).where(is_wanted)):
            histories[run_id].append((step, value))
    return histories
