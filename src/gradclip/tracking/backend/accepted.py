"""Writes that a server accepted, checked at the end of the run: some servers answer 200 and store nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow.entities import Run

from gradclip import keys
from gradclip.tracking.backend.connection import Connection
from gradclip.tracking.records import Call

RUN_FILES = (keys.FIGURES_FOLDER, keys.TELEMETRY_FOLDER, keys.EXPLOSION_FOLDER, keys.WEIGHTS_FOLDER)


def are_stored(calls: Sequence[Call], backend: Connection, run_id: str) -> bool:
    """Return whether a server has stored some writes of a run, as far as two requests can show.

    Args:
        calls: the writes.
        backend: the server.
        run_id: id of the run.
    """
    run = backend.client.get_run(run_id)
    steps = {metric.key: metric.step for metric in run.data._metric_objs}
    files = {Path(entry.path).name for entry in backend.repository_of(run_id).list_artifacts()}
    return all(_is_stored(call, run, steps, files) for call in calls)


def _is_stored(call: Call, run: Run, steps: Mapping[str, int], files: set[str]) -> bool:
    found = True
    match call.operation, call.arguments:
        case "write_points", (points,):
            found = all(steps.get(point.key, -1) >= point.step for point in points)
        case "write_summary", (metrics, *_):
            found = metrics.keys() <= steps.keys()
        case "write_parameters", (parameters,):
            found = parameters.keys() <= run.data.params.keys()
        case "write_text", (_, name):
            found = Path(name).parts[0] in files
        case "write_run_files", (folder,):
            found = all(name in files for name in RUN_FILES if Path(folder, name).exists())
        case "end_run", (status, *_):
            found = run.info.status == status
    return bool(found)
