"""The histories of a metric in many runs, read at once: MLflow's client takes milliseconds for each run."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import select

from gradclip.tracking.backend.database import engine_of
from gradclip.tracking.backend.tables import tables_of


def read_histories(uri: str, run_ids: Sequence[str], key: str) -> dict[str, list[tuple[int, float]]] | None:
    """Return the steps and values of a metric, without those that are NaN, by run id.

    Args:
        uri: of a database store.
        run_ids: of the runs.
        key: name of the metric.

    Returns:
        None where the tables are not as expected.

    Raises:
        SQLAlchemyError: the database failed.
    """
    tables = tables_of(uri)
    if tables is None:
        return None
    rows = tables["metrics"].c
    is_wanted = (rows.key == key) & rows.run_uuid.in_(run_ids) & ~rows.is_nan
    histories: dict[str, list[tuple[int, float]]] = defaultdict(list)
    with engine_of(uri).connect() as connection:
        for run_id, step, value in connection.execute(select(rows.run_uuid, rows.step, rows.value).where(is_wanted)):
            histories[run_id].append((step, value))
    return histories
