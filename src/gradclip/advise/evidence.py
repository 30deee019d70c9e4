"""The evidence from a stored run: its telemetry, and what its settings and metrics say beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import parquet

from gradclip import keys
from gradclip.config.composition import overrides_of
from gradclip.config.schema import Parts, flatten
from gradclip.config.serialization import from_yaml
from gradclip.config.tracking import TrackingSettings
from gradclip.diagnosis.conditions import DEFAULT_EPSILON
from gradclip.diagnosis.evidence import Evidence, gather_evidence
from gradclip.diagnosis.log import EPOCH, STEP, TARGET_MAX_ABS, Log, Training
from gradclip.errors import ConfigError, first_line
from gradclip.formatting import parse_number, printable
from gradclip.scores import ACCURACY, Score, Split, stored_score
from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, result_of
from gradclip.tracking.records import Store
from gradclip.tracking.scratch import scratch_folder
from gradclip.tracking.stored_runs import StoredRun

ACCURACY_NOISE = 0.05  # by which accuracy differs from epoch to epoch; added to errors, so that 1% is hardly above none
STANDARD_ERRORS = 2.0  # of the fraction of wrong predictions, within which a change is chance

COLUMNS = {  # of telemetry, that are needed
    *(STEP, EPOCH, TARGET_MAX_ABS),
    *(keys.LOSS_STEP, keys.GRAD_NORM, keys.GRAD_NORM_CLIPPED, keys.GRAD_COEFFICIENT, keys.GRAD_MAX_ABS),
}


def read_evidence(run_id: str, tracking: TrackingSettings) -> Evidence:
    """Return the evidence from a stored run.

    Raises:
        TrackingError: there is no such run.
        ConfigError: as :func:`evidence_of`.
    """
    return evidence_of(result_of(ask(Store.of(tracking), Operations.read_run, run_id)), tracking)


def evidence_of(run: StoredRun, tracking: TrackingSettings) -> Evidence:
    """Return the evidence from a run; its settings are those of its config, which is checked: parameters are any text.

    Raises:
        ConfigError: it has no telemetry, or that or its config is damaged or not trusted.
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
    """Compute the evidence from a run and its telemetry, one row a step.

    Args:
        run: the stored run.
        telemetry: its telemetry.
        overrides: the overrides that make its settings again.
    """
    columns = {str(name): telemetry[name].to_numpy() for name in telemetry}
    return gather_evidence(Log.of_telemetry(columns), training_of(run, overrides))


def training_of(run: StoredRun, overrides: Sequence[str]) -> Training:
    """Return what the settings and metrics of a stored run say about its training."""
    settings, metrics = run.parameters, run.metrics
    score = stored_score(metrics, run.tags)
    return Training(
        name=run.name,
        run_id=run.run_id,
        outcome=run.outcome,
        optimizer=settings.get("optimizer.name", ""),
        learning_rate=parse_number(settings.get("optimizer.lr")),
        momentum=float(settings.get("optimizer.momentum", 0)),
        epsilon=float(settings.get("optimizer.eps", DEFAULT_EPSILON)),
        clip=settings["clip.name"],
        threshold=parse_number(settings.get("clip.value")),
        clip_fraction=metrics.get(keys.GRAD_CLIP_FRACTION, np.nan),
        loss=settings.get("loss.name", ""),
        schedule=settings.get("schedule.name", ""),
        can_scale_target=settings.get("data.scale_target") == "none",
        initialization=settings.get("model.initialization", ""),
        final_to_best_ratio=np.nan if score is None else final_to_best_ratio(score, metrics, run.rows),
        best_epoch=int(metrics.get(keys.BEST_EPOCH, 0)),
        chosen_on="" if score is None else score.choosing_split(metrics),
        fixed_groups=Parts._fields if settings.get("module._target_") else (),
        command=tuple(overrides),
    )


def final_to_best_ratio(score: Score, metrics: Mapping[str, float], rows: Mapping[Split, int] | None = None) -> float:
    """Return the final over the best error of a run on the examples that choose; NaN where no error is known.

    A metric of the user's of which larger values are better has no known perfect value, and so no error. Accuracies
    that differ by no more than chance on so few rows are equal.

    Args:
        score: of the run.
        metrics: of the run.
        rows: number of rows of each kind of examples, as far as it is known.

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
    final, best = (score.error(metrics.get(name, np.nan)) for name in (score.final(split), score.best(split)))
    if score != ACCURACY:
        return final / best if best > 0 else np.nan
    if (known := (rows or {}).get(split)) and final - best <= STANDARD_ERRORS * _standard_error(final, known):
        return 1.0
    return (final + ACCURACY_NOISE) / (best + ACCURACY_NOISE)


def _standard_error(error: float, rows: int) -> float:
    """Return that of a fraction of wrong predictions, with one more right and one more wrong (Agresti & Coull 1998)."""
    fraction = (min(error, 1.0) * rows + 1) / (rows + 2)  # anybody may have stored an accuracy of -5
    return sqrt(fraction * (1 - fraction) / (rows + 2))


def read_telemetry(path: Path, setting: str) -> pd.DataFrame:
    """Read telemetry, one row a step, of numbers only; anybody may have written it.

    Args:
        path: of the Parquet file.
        setting: the setting that asked for it, named in errors.

    Raises:
        ConfigError: it is damaged, or lacks a column.
    """
    try:
        table = parquet.read_table(path)
        names = [printable(name) for name in table.column_names]
        frame = pd.DataFrame({name: column.to_numpy() for name, column in zip(names, table.columns, strict=True)})
        frame = frame.astype(float)
    except (ValueError, TypeError, LookupError, OSError, pyarrow.ArrowException) as error:
        raise ConfigError(f"{setting}; its {keys.TELEMETRY_FILE} is damaged: {first_line(error)}") from error
    if missing := COLUMNS - {*frame}:
        raise ConfigError(f"{setting}; its {keys.TELEMETRY_FILE} has no column {min(missing)}")
    return frame
