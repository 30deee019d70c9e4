"""The command ``advise`` on a log of gradient norms, or on a metric of any stored run."""

from pathlib import Path

from gradclip import keys
from gradclip.config.schema import AdviseSettings
from gradclip.diagnosis.diagnose import diagnose
from gradclip.diagnosis.log import JOINED_STEP, LEARNING_RATE, STEP, find_columns
from gradclip.diagnosis.read_log import Columns, join_points, read_log
from gradclip.errors import DataError, did_you_mean
from gradclip.formatting import printable
from gradclip.terminal import print_lines
from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, result_of
from gradclip.tracking.records import Store

UNHEALTHY = 3  # exit code; all errors exit with 2
MAX_POINTS = 1_000_000  # read of one metric


def run_advice_on_log(settings: AdviseSettings) -> None:
    """Print the diagnosis of a log.

    Raises:
        DataError: the log cannot be read, or has no steps or norms.
        SystemExit: with code 3, if a problem was found.
    """
    columns = _read_metrics(settings) if settings.log is None else read_log(Path(settings.log))
    diagnosis = diagnose(
        columns,
        optimizer=settings.optimizer_name or "",
        elements=settings.parameter_count or 0,
        max_norm=float("nan") if settings.max_norm is None else settings.max_norm,
        names=_names(settings),
        loop=settings.code,
    )
    if settings.output == "json":
        print(diagnosis.to_json())
    else:
        print_lines(*map(printable, str(diagnosis).splitlines()))  # column names from the log may hold anything
    if not diagnosis.is_healthy:
        raise SystemExit(UNHEALTHY)


def _names(settings: AdviseSettings) -> dict[str, str]:
    """Return the columns that the settings name, keyed by our metric names."""
    given = {
        STEP: settings.step_column,
        keys.GRAD_NORM: settings.metric or settings.norm_column,
        keys.GRAD_NORM_CLIPPED: settings.clipped_column,
        keys.LOSS_STEP: settings.loss_column,
        LEARNING_RATE: settings.rate_column,
        f"{keys.GRAD_NORM}/*": settings.layer_columns,
    }
    return {name: column for name, column in given.items() if column is not None}


def _read_metrics(settings: AdviseSettings) -> Columns:
    """Return the requested metric and the run's other metrics with known names, one row for each step."""
    store, run_id, metric = Store.of(settings.tracking), str(settings.run), str(settings.metric)
    run = result_of(ask(store, Operations.read_run, run_id))
    if metric not in run.metrics:
        hint = did_you_mean(metric, run.metrics)
        raise DataError(f"metric: got {metric!r}; run {run_id} has no such metric{hint}")
    points = {}
    for name in find_columns([JOINED_STEP, *run.metrics], _names(settings)).values():
        curves = result_of(ask(store, Operations.read_curves, [run_id], name, MAX_POINTS))
        if run_id in curves:
            points[name] = (curves[run_id].step, curves[run_id].value)
    if metric not in points:
        raise DataError(f"metric: got {metric!r}; it has no finite value in run {run_id}")
    return join_points(points)
