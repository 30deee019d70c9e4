"""The view of a new experiment in the MLflow UI: columns, order and charts that show how clipped runs differ.

MLflow stores named views as tags of the experiment; a browser opens one by its key in the URL. The format of MLflow
3.17 is defined in its ``ExperimentPageUIState.tsx`` and ``savedViewEnvelope.ts``.
"""

import hashlib
import json
import shlex
import struct
from collections.abc import Mapping, Sequence
from math import inf, isnan
from typing import Any, Final

from gradclip import keys
from gradclip.config.paths import default_store
from gradclip.program import is_script
from gradclip.scores import SCORES, SPLITS

UI: Final = "http://127.0.0.1:5000"  # where MLflow serves its pages by default
VIEW: Final = "clipping"
COLUMNS: Final = (
    *(f"tags.`{tag}`" for tag in (keys.OUTCOME, keys.DATA, keys.BEST, keys.CLIP)),
    *(f"metrics.`{score.final(split)}`" for split in SPLITS[1:] for score in SCORES.values()),
    *(f"metrics.`{metric}`" for metric in (keys.GRAD_CLIP_FRACTION, keys.GRAD_NORM_P90)),
    *(f"metrics.`{score.final('train')}`" for score in SCORES.values()),
    *(f"params.`{name}`" for name in ("optimizer.lr", "seed")),
)
NAME_COLUMN: Final = "attributes.`Run Name`"
CHARTS: Final = {
    "Scores": tuple(score.by_epoch(split) for split in SPLITS[::-1] for score in SCORES.values()),
    "Gradients": (keys.GRAD_NORM_PEAK, keys.GRAD_NORM_CLIPPED, keys.GRAD_COEFFICIENT, keys.GRAD_NORM),
}


def view_tags(created: int) -> dict[str, str]:
    """Return the tags that give an experiment its view; ``created`` is in milliseconds since 1970.

    Example:
        >>> list(view_tags(0))
        ['mlflow.sharedViewState.clipping']
    """
    view = {"name": VIEW.capitalize(), "createdAt": created, "state": json.dumps(_state())}
    return {f"mlflow.sharedViewState.{VIEW}": json.dumps(view)}


def order_tag(data: Mapping[str, str], error: float, of_multirun: bool = False) -> str:
    """Return the text that the view sorts by: first by data set, then multiruns first, then by ascending error.

    MLflow sorts by one column, so one text encodes all of this, in digits and letters that every database sorts alike.

    Args:
        data: settings that identify the data set.
        error: lower is better; NaN comes last.
        of_multirun: whether the text is for a parent run.

    Example:
        >>> errors = [float("nan"), 2.0, -1.0, 30.0]
        >>> [error for _, error in sorted((order_tag({}, error), error) for error in errors)]
        [-1.0, 2.0, 30.0, nan]
    """
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:8]
    (bits,) = struct.unpack(">q", struct.pack(">d", inf if isnan(error) else error))
    rank = bits + 2**63 if bits >= 0 else -bits - 1  # sorts as the number itself does
    return f"{digest}{'a' if of_multirun else 'b'}{rank:016x}"


def view_address(server: str, experiment_id: str) -> str:
    """Return the URL of an experiment in its view, rather than in the UI for language models.

    Example:
        >>> view_address("http://127.0.0.1:5000", "1")
        'http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=clipping'
    """
    page = f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs"
    return f"{page}?workflowType=machine_learning&viewStateShareKey={VIEW}"


def open_pages(uri: str, experiment_id: str) -> str:
    """Return how to open an experiment: its URL and, if no server is known, the command that starts one."""
    if uri.startswith("http"):
        return view_address(uri, experiment_id)
    serve = "make ui" if is_script() else "gradclip ui"
    command = serve if uri == default_store() else shlex.join(["mlflow", "ui", "--backend-store-uri", uri])
    return f"{command}\n        {view_address(UI, experiment_id)}"


def _state() -> dict[str, Any]:
    return {
        "orderByKey": f"tags.`{keys.ORDER}`",  # unless they are sorted by age, the runs of multiruns are listed too
        "orderByAsc": True,
        "selectedColumns": COLUMNS,
        "columnOrder": (NAME_COLUMN, *COLUMNS),
        "columnWidths": {column: 105 if column.startswith("tags.") else 130 for column in COLUMNS} | {NAME_COLUMN: 240},
        "runsHiddenMode": "FIRST_20_RUNS",  # the charts show the curves of these
        "compareRunSections": [{"uuid": name, "name": name, "display": True, "isReordered": False} for name in CHARTS],
        "compareRunCharts": [chart for name, metrics in CHARTS.items() for chart in _charts(name, metrics)],
        "isAccordionReordered": True,  # other metrics come after ours
        "hideEmptyCharts": True,
    }


def _charts(section: str, metrics: Sequence[str]) -> list[dict[str, Any]]:
    shared = {"type": "LINE", "metricSectionId": section, "scaleType": "log", "xAxisKey": "step", "lineSmoothness": 0}
    return [shared | {"uuid": metric, "metricKey": metric, "selectedMetricKeys": [metric]} for metric in metrics]
