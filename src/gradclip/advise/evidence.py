"""Evidence from a stored run: its telemetry, settings and metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite, sqrt
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import parquet
from pyarrow.types import is_boolean, is_floating, is_integer

from gradclip import keys
from gradclip.config.composition import overrides_of
from gradclip.config.schema import Parts, flatten
from gradclip.config.serialization import from_yaml
from gradclip.config.tracking import TrackingSettings
from gradclip.diagnosis.conditions import DEFAULT_EPSILON
from gradclip.diagnosis.evidence import Evidence
from gradclip.diagnosis.gathering import gather_evidence
from gradclip.diagnosis.log import EPOCH, STEP, TARGET_MAX_ABS, Log, Training
from gradclip.diagnosis.read_log import check_cells
from gradclip.errors import ConfigError, first_line
from gradclip.formatting import format_scores, parse_number, printable
from gradclip.scores import ACCURACY, LoggedScore, Score, Split, stored_score
from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, result_of
from gradclip.tracking.records import Store
from gradclip.tracking.scratch import scratch_folder
from gradclip.tracking.stored_runs import StoredRun

ACCURACY_NOISE = 0.05  # usual change of accuracy between epochs; added, so that tiny errors give no large ratios
STANDARD_ERRORS = 2.0  # a change of the error within this many standard errors counts as chance

COLUMNS = {  # required columns of telemetry
    *(STEP, EPOCH, TARGET_MAX_ABS),
    *(keys.LOSS_STEP, keys.GRAD_NORM, keys.GRAD_NORM_CLIPPED, keys.GRAD_COEFFICIENT, keys.GRAD_MAX_ABS),
}


def read_evidence(run_id: str, tracking: TrackingSettings) -> Evidence:
    """Return the evidence from a stored run.

    Raises:
        TrackingError: the run does not exist.
        ConfigError: see :func:`evidence_of`.
    """
    return evidence_of(result_of(ask(Store.of(tracking), Operations.read_run, run_id)), tracking)


def evidence_of(run: StoredRun, tracking: TrackingSettings) -> Evidence:
    """Return the evidence from a run.

    Its settings are read from the stored config, which is validated; the stored parameters may be any text.

    Raises:
        ConfigError: the run lacks telemetry or a config, or one of them is damaged or not trusted.
    """
    setting = f"run: got {run.run_id!r} ({run.name})"
    with scratch_folder() as scratch:
        telemetry = _read_file(run, keys.TELEMETRY_FILE, tracking, scratch)
        text = _read_file(run, keys.CONFIG_FILE, tracking, scratch).read_text(errors="surrogateescape")
        config = from_yaml(text, tracking, setting, run.tags.get(keys.DATA_DIGEST, ""))
        checked = replace(run, parameters=flatten(config))
        return gather(checked, read_telemetry(telemetry, setting), overrides_of(config))


def _read_file(run: StoredRun, name: str, tracking: TrackingSettings, folder: Path) -> Path:
    file = result_of(ask(Store.of(tracking), Operations.read_file, run.run_id, name, str(folder)))
    if file is None:
        raise ConfigError(f"run: got {run.run_id!r} ({run.name}); it has no {name}")
    return file


def gather(run: StoredRun, telemetry: pd.DataFrame, overrides: Sequence[str] = ()) -> Evidence:
    """Compute the evidence from a run and its telemetry.

    Args:
        run: the stored run.
        telemetry: telemetry of the run, one row per step.
        overrides: overrides that reproduce its settings.
    """
    columns = {str(name): telemetry[name].to_numpy() for name in telemetry}
    return gather_evidence(Log.of_telemetry(columns), training_of(run, overrides))


def training_of(run: StoredRun, overrides: Sequence[str]) -> Training:
    """Return a description of the training of a stored run, from its settings and metrics."""
    settings, metrics = run.parameters, run.metrics
    score, best_epoch = stored_score(metrics, run.tags), metrics.get(keys.BEST_EPOCH, 0.0)
    return Training(
        name=run.name,
        run_id=run.run_id,
        outcome=run.outcome,
        is_solved=run.is_solved,
        optimizer=settings.get("optimizer.name", ""),
        learning_rate=parse_number(settings.get("optimizer.lr")),
        momentum=float(settings.get("optimizer.momentum", 0)),
        epsilon=float(settings.get("optimizer.eps", DEFAULT_EPSILON)),
        clip=settings["clip.name"],
        threshold=parse_number(settings.get("clip.value")),
        clip_fraction=metrics.get(keys.GRAD_CLIP_FRACTION, np.nan),
        loss=settings.get("loss.name", ""),
        schedule=settings.get("schedule.name", ""),
        can_scale_target=settings.get("data.scale_target") == "none" and score != ACCURACY,  # classes have no scale
        initialization=settings.get("model.initialization", ""),
        final_to_best_ratio=np.nan if score is None else final_to_best_ratio(score, metrics, run.rows),
        accuracy_gap=np.nan if score is None else accuracy_gap(score, metrics, run.rows),
        final_scores="" if score is None else format_scores(score.name, score.finals(metrics)),
        best_epoch=int(best_epoch) if isfinite(best_epoch) else 0,  # anyone may have stored NaN
        chosen_on="" if score is None else _chosen_on(score, metrics),
        fixed_groups=Parts._fields if settings.get("module._target_") else (),
        command=tuple(overrides),
    )


def _chosen_on(score: Score, metrics: Mapping[str, float]) -> str:
    """Return the split that chooses, or the name of a score that a module may have measured on any examples."""
    split = score.choosing_split(metrics)
    return score.name if isinstance(score, LoggedScore) and split == "validation" else split


def final_to_best_ratio(score: Score, metrics: Mapping[str, float], rows: Mapping[Split, int] | None = None) -> float:
    """Return the final error of a run divided by its best error, on the examples that choose; NaN if one is unknown.

    A metric of a user-defined module for which higher is better has no known perfect value, and therefore no error. If
    the final and the best accuracy differ by no more than chance, the ratio is 1.

    Args:
        score: score of the run.
        metrics: metrics of the run.
        rows: number of rows of each split, where known.

    Example:
        >>> from gradclip.scores import ACCURACY, MSE
        >>> final_to_best_ratio(MSE, {"final/mse_test": 30.0, "best/mse_test": 10.0})
        3.0
        >>> final_to_best_ratio(ACCURACY, {"final/accuracy_test": 0.85, "best/accuracy_test": 1.0})
        4.0
        >>> final_to_best_ratio(ACCURACY, {"final/accuracy_test": 0.85, "best/accuracy_test": 1.0}, {"test": 20})
        1.0
    """
    split = score.choosing_split(metrics)
    final = score.error(metrics.get(score.final(split), np.nan))
    best = score.error(metrics.get(score.best(split), np.nan))
    if score != ACCURACY:
        return final / best if best > 0 else np.nan
    if (known := (rows or {}).get(split)) and final - best <= STANDARD_ERRORS * _standard_error(final, known):
        return 1.0
    return (final + ACCURACY_NOISE) / (best + ACCURACY_NOISE)


def accuracy_gap(score: Score, metrics: Mapping[str, float], rows: Mapping[Split, int]) -> float:
    """Return by how much the final accuracy is higher on the training rows than on those that choose.

    It is 0 if the difference may be chance, and NaN for another score: a gap in the MSE may be large and still small
    for the target.

    Args:
        score: score of the run.
        metrics: metrics of the run.
        rows: number of rows of each split, where known.

    Example:
        >>> from gradclip.scores import ACCURACY
        >>> metrics = {"final/accuracy_train": 1.0, "final/accuracy_validation": 0.75}
        >>> accuracy_gap(ACCURACY, metrics, {"validation": 500}), accuracy_gap(ACCURACY, metrics, {"validation": 8})
        (0.25, 0.0)
    """
    if score != ACCURACY:
        return np.nan
    split = score.choosing_split(metrics)
    final = metrics.get(score.final(split), np.nan)
    gap = metrics.get(score.final("train"), np.nan) - final
    noise = STANDARD_ERRORS * _standard_error(score.error(final), rows[split]) if split in rows else 0.0
    return 0.0 if gap <= noise else gap


def _standard_error(error: float, rows: int) -> float:
    """Return the standard error of a fraction of wrong predictions.

    One right and one wrong prediction are added (Agresti & Coull 1998).
    """
    fraction = (min(error, 1.0) * rows + 1) / (rows + 2)  # a stored accuracy may be any number, even -5
    return sqrt(fraction * (1 - fraction) / (rows + 2))


def read_telemetry(path: Path, setting: str) -> pd.DataFrame:
    """Return telemetry with numeric columns only, one row per step; the file may come from anyone.

    Raises:
        ConfigError: the file is damaged, too large, not numeric, or lacks a column.
    """
    try:
        _check_content(parquet.ParquetFile(path))
        table = parquet.read_table(path)
        names = [printable(name) for name in table.column_names]
        frame = pd.DataFrame({name: column.to_numpy() for name, column in zip(names, table.columns, strict=True)})
        frame = frame.astype(float)
    except (ValueError, TypeError, LookupError, OSError, pyarrow.ArrowException) as error:
        raise ConfigError(f"{setting}; its {keys.TELEMETRY_FILE} is damaged: {first_line(error)}") from error
    if missing := COLUMNS - {*frame}:
        raise ConfigError(f"{setting}; its {keys.TELEMETRY_FILE} has no column {min(missing)}")
    if not np.isfinite(frame[[STEP, EPOCH]]).all(axis=None):
        raise ConfigError(f"{setting}; its {keys.TELEMETRY_FILE} is damaged: a step or an epoch is not a finite number")
    return frame


def _check_content(file: parquet.ParquetFile) -> None:
    """Refuse content that may not fit in the memory: too many numbers, or texts of unknown size.

    Raises:
        ValueError: there is such content.
    """
    check_cells(file.metadata.num_columns, file.metadata.num_rows)
    for field in file.schema_arrow:
        if not (is_integer(field.type) or is_floating(field.type) or is_boolean(field.type)):
            raise ValueError(f"column {printable(field.name)!r} has the type {field.type}; must be a number")
