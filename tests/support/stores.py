"""Runs written to a real store without training, for tests in which only the stored numbers matter."""

import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from mlflow import MlflowClient

from gradclip import keys
from gradclip.scores import MSE
from gradclip.tracking.backend.operations import backend_of
from gradclip.tracking.records import Parent, Point, Store

DEFAULTS = {"data.name": "regression", "optimizer.lr": "0.01", "tracking.experiment": "gradclip", "clip.name": "norm"}


def make_store(folder: Path) -> Store:
    return Store(f"sqlite:///{folder}/mlflow.db", f"{folder}/artifacts", "gradclip")


def write_run(
    store: Store,
    error: float,
    seed: int,
    parameters: Mapping[str, str],
    curve: Sequence[float] = (),
    parent: Parent | None = None,
    status: str = "FINISHED",
    on_validation: Sequence[float] = (),
) -> str:
    """Write a run of clip=norm with a final test MSE and return its id; an MSE of NaN means that the run diverged.

    ``curve`` has the errors on test rows, ``on_validation`` those on validation rows.
    """
    settings = DEFAULTS | {"clip.value": "1.0", "seed": str(seed)} | dict(parameters)
    label = settings["clip.name"] if settings["clip.name"] == "none" else f"norm={settings['clip.value']}"
    database = Path(store.uri.removeprefix("sqlite:///"))
    if not database.exists():
        database.write_bytes(empty_database())
    backend = backend_of(store)
    run_id = backend.create_run(f"{label} seed={seed}", {keys.CLIP: label, keys.SEED: str(seed)}, parent, None)
    backend.write_parameters(run_id, settings)
    curves = {MSE.by_epoch("test"): curve, MSE.by_epoch("validation"): on_validation}
    points = [
        Point(name, value, epoch, epoch)
        for name, values in curves.items()
        for epoch, value in enumerate(values, 1)
        if np.isfinite(value)
    ]
    backend.write_points(run_id, points)
    norms = {keys.GRAD_NORM_P50: 1.0, keys.GRAD_NORM_P90: 5.0, keys.GRAD_NORM_P99: 9.0, keys.GRAD_NORM_MAX: 10.0}
    metrics = {MSE.final("test"): error, MSE.final("train"): error, keys.GRAD_CLIP_FRACTION: 0.5}
    metrics |= {MSE.final("validation"): on_validation[-1]} if len(on_validation) else {}
    outcome = "learned" if np.isfinite(error) else "diverged"
    if status == "FINISHED":
        backend.write_summary(run_id, metrics | norms, {keys.OUTCOME: outcome}, timestamp=0)
    backend.end_run(run_id, status)
    return run_id


@cache
def empty_database() -> bytes:
    """Return a database with MLflow's tables and no runs; the tables take a second to create."""
    with tempfile.TemporaryDirectory() as folder:
        MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
        return Path(folder, "mlflow.db").read_bytes()
