"""The numbers that advice is based on, from a stored run and its telemetry."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import parquet

from gradclip import keys
from gradclip.arrays import Floats
from gradclip.config.overrides import setting_of
from gradclip.config.schema import Parts
from gradclip.errors import ConfigError, first_line
from gradclip.formatting import printable
from gradclip.tracking.stored_runs import StoredRun

EXPLOSION_FACTOR = 10.0  # times the median of the norms so far: from here on the gradients have exploded
SPIKE_PERCENTILE = 90  # of the norms; steps at or above it are spikes
COLUMNS = {  # of telemetry, that are needed
    *("step", "epoch", "target/max_abs"),
    *(keys.LOSS_STEP, keys.GRAD_NORM, keys.GRAD_NORM_CLIPPED, keys.GRAD_COEFFICIENT, keys.GRAD_MAX_ABS),
}
NOISE_FACTOR = 1.01  # a smaller change of test score or loss is noise


@dataclass(frozen=True)
class Norms:
    """Gradient norms before clipping, of the usable steps (loss units per weight unit).

    Attributes:
        steps: number of usable steps.
        mean: of the norms.
        p50: their median.
        p90: their 90th percentile.
        largest: their maximum.
        drift: median of the last quarter over median of the first quarter.
        first: first norm over the median.
        value_p90: 90th percentile of the largest element's magnitude.
    """

    steps: int
    mean: float
    p50: float
    p90: float
    largest: float
    drift: float
    first: float
    value_p90: float


@dataclass(frozen=True)
class Evidence:
    """The numbers that advice on a run is based on.

    Attributes:
        run: the stored run.
        norms: of the usable steps; None if no step is usable.
        steps: number of all optimizer steps.
        clip_fraction: fraction of the steps that clipping changed.
        coefficient: norm after over norm before clipping, the mean over the steps.
        element_share: fraction of the squared norm that the largest element has, the median over the spikes.
        spiking_parameter: the only parameter whose gradient spikes; empty if none or several do.
        spike_factor: factor by which its norm grows in spikes.
        parameter_p90: 90th percentile of a parameter's norm, the median over the parameters.
        norm_for_10pct_step: norm after clipping at which nine of ten steps change the weights by at most 10% of their
            norm; NaN where steps do not grow with the gradient.
        largest_update_ratio: largest change of a parameter in a usable step, as a fraction of its norm.
        target_max_abs: largest magnitude of the target, as the network sees it.
        final_to_best_ratio: final over best score on the test examples, 1 at best; NaN where unknown.
        overfits_after_epoch: epoch of the best test score, if the score has worsened since while the training loss kept
            falling; 0 otherwise.
        overrides: the overrides that make the settings of the run again, without seed and store.
    """

    run: StoredRun
    norms: Norms | None
    steps: int
    clip_fraction: float
    coefficient: float
    element_share: float
    spiking_parameter: str
    spike_factor: float
    parameter_p90: float
    norm_for_10pct_step: float
    largest_update_ratio: float
    target_max_abs: float
    final_to_best_ratio: float
    overfits_after_epoch: int
    overrides: tuple[str, ...]

    @property
    def exploded(self) -> bool:
        """Whether the run diverged, or stalled after its gradients exploded."""
        unusable_steps = self.norms is not None and self.norms.steps < self.steps
        return self.run.outcome == "diverged" or (self.run.outcome == "stalled" and unusable_steps)

    @property
    def clips(self) -> bool:
        """Whether the run clips at all."""
        return self.setting("clip.name") != "none"

    @property
    def learning_rate(self) -> float:
        """The learning rate of the run; NaN where a module of the user's has its own optimizer."""
        return float(self.setting("optimizer.lr") or np.nan)

    def has(self, override: str) -> bool:
        """Whether the run has what an override changes; a module of the user's has no optimizer of ours, say."""
        return not self.setting("module._target_") or setting_of(override).split(".")[0] not in Parts._fields

    def setting(self, name: str) -> str:
        """Return a setting of the run as text; empty if it has none of that name."""
        return self.run.parameters.get(name, "")


def gather(run: StoredRun, telemetry: pd.DataFrame, overrides: Sequence[str] = ()) -> Evidence:
    """Compute the evidence from a run and its telemetry, one row a step.

    All steps with a finite gradient are usable where the run learned; elsewhere, those before the gradients exploded.

    Args:
        run: the stored run.
        telemetry: its telemetry.
        overrides: the overrides that make its settings again.
    """
    norm = telemetry[keys.GRAD_NORM].to_numpy(float)
    finite = telemetry[np.isfinite(norm) & (norm > 0)]
    usable = finite
    if run.outcome not in {"learned", "finished"}:
        usable = finite.iloc[: steps_before_explosion(finite[keys.GRAD_NORM].to_numpy(float))]
    parameter, factor = _spiking_parameter(usable)
    return Evidence(
        run=run,
        norms=_norms(usable) if len(usable) else None,
        steps=len(telemetry),
        clip_fraction=run.metrics.get(keys.GRAD_CLIP_FRACTION, np.nan),
        coefficient=float(finite[keys.GRAD_COEFFICIENT].mean()) if len(finite) else np.nan,
        element_share=_element_share(usable),
        spiking_parameter=parameter,
        spike_factor=factor,
        parameter_p90=_parameter_p90(usable),
        norm_for_10pct_step=_norm_for_10pct_step(run, usable),
        largest_update_ratio=_largest(usable.filter(like="update/ratio/").to_numpy(float)),
        target_max_abs=_largest(telemetry["target/max_abs"].to_numpy(float)),
        final_to_best_ratio=_final_to_best_ratio(run),
        overfits_after_epoch=_overfits_after_epoch(run, telemetry),
        overrides=tuple(overrides),
    )


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


def steps_before_explosion(norms: Floats) -> int:
    """Return how many norms precede the first that exceeds ten times their median; all, if none does.

    Example:
        >>> steps_before_explosion(np.array([3.0, 4.0, 3.0, 200.0, 5e6]))
        3
    """
    for index in range(1, len(norms)):
        if norms[index] > EXPLOSION_FACTOR * np.median(norms[:index]):
            return index
    return len(norms)


def _norms(usable: pd.DataFrame) -> Norms:
    norm = usable[keys.GRAD_NORM].to_numpy(float)
    quarter = max(1, len(norm) // 4)
    median = float(np.median(norm))
    return Norms(
        steps=len(norm),
        mean=float(norm.mean()),
        p50=median,
        p90=float(np.percentile(norm, 90)),
        largest=float(norm.max()),
        drift=float(np.median(norm[-quarter:]) / np.median(norm[:quarter])),
        first=float(norm[0]) / median,
        value_p90=float(np.percentile(usable[keys.GRAD_MAX_ABS].to_numpy(float), 90)),
    )


def _element_share(usable: pd.DataFrame) -> float:
    spikes = _spikes(usable)
    shares = (spikes[keys.GRAD_MAX_ABS] / spikes[keys.GRAD_NORM]) ** 2
    return float(shares.median()) if len(shares) else np.nan


def _spiking_parameter(usable: pd.DataFrame) -> tuple[str, float]:
    """Return the one parameter whose norm grows 10-fold in spikes while all others grow less than 3-fold."""
    prefix = f"{keys.GRAD_NORM}/"
    columns = list(usable.filter(like=prefix))
    spikes = _spikes(usable)
    if len(columns) < 2 or not len(spikes):
        return "", np.nan
    growth = (spikes[columns].median() / usable[columns].median().replace(0, np.nan)).fillna(1).sort_values()
    if growth.iloc[-1] >= 10 and growth.iloc[-2] < 3:
        return str(growth.index[-1]).removeprefix(prefix), float(growth.iloc[-1])
    return "", np.nan


def _parameter_p90(usable: pd.DataFrame) -> float:
    norms = usable.filter(like=f"{keys.GRAD_NORM}/")
    return float(norms.quantile(0.9).median()) if len(norms) else np.nan


def _norm_for_10pct_step(run: StoredRun, usable: pd.DataFrame) -> float:
    """Derive the norm from the relative change of all weights together, per unit of the clipped norm.

    The first steps are shorter than the later ones: at step k, momentum m has built up to a fraction 1 - mᵏ.
    """
    if run.parameters.get("optimizer.name") != "sgd":
        return np.nan
    update, weight = (np.sqrt((usable.filter(like=f"{what}/norm/") ** 2).sum(axis=1)) for what in ("update", "weight"))
    built_up = 1 - float(run.parameters.get("optimizer.momentum", 0)) ** usable["step"]
    change = (update / weight / usable[keys.GRAD_NORM_CLIPPED] / built_up).replace([0, np.inf], np.nan).dropna()
    return 0.1 / float(change.quantile(0.9)) if len(change) else np.nan


def _spikes(usable: pd.DataFrame) -> pd.DataFrame:
    norm = usable[keys.GRAD_NORM]
    return usable[norm >= np.percentile(norm, SPIKE_PERCENTILE)] if len(usable) else usable


def _largest(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else np.nan


def _final_to_best_ratio(run: StoredRun) -> float:
    final, best = run.metrics.get(keys.MSE.final_test, np.nan), run.metrics.get(keys.MSE.best_test, np.nan)
    return final / best if best > 0 else np.nan


def _overfits_after_epoch(run: StoredRun, telemetry: pd.DataFrame) -> int:
    best, loss = run.metrics.get(keys.BEST_EPOCH, 0), telemetry.groupby("epoch")[keys.LOSS_STEP].mean()
    if run.outcome != "learned" or best not in loss.index or not _final_to_best_ratio(run) > NOISE_FACTOR:
        return 0
    return int(best) if loss.iloc[-1] * NOISE_FACTOR < loss[best] else 0
