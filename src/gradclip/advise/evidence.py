"""What the gradients of a stored run tell: plain numbers, from its telemetry."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradclip import keys
from gradclip.tracking.stored_runs import StoredRun

Floats = NDArray[np.float64]

OUTBREAK = 10.0  # times the median norm so far, from which on training has run away
SPIKES = 90  # percentile of the norms, above which steps count as spikes
NOTABLE = 1.01  # factor below which a change of test score or loss is noise


@dataclass(frozen=True)
class Norms:
    """Gradient norms before clipping, of the steps that can be trusted (loss units per weight unit).

    Attributes:
        steps: how many there are.
        mean: their average.
        p50: their median.
        p90: their 90th percentile.
        largest: the largest.
        drift: median of the last quarter over median of the first.
        first: the first over the median.
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
    """All that advice is founded on.

    Attributes:
        run: the stored run.
        norms: gradient norms of the trusted steps; None if there is none.
        steps: all optimizer steps of the run.
        clip_fraction: share of the steps that clipping changed.
        coefficient: mean of norm after over norm before clipping.
        element_share: share of the squared norm that one element has in spikes, as a median.
        spiking_parameter: the only parameter whose gradient spikes; empty if several do, or none.
        spike_factor: by how much its norm grows in spikes.
        parameter_p90: median over the parameters of the 90th percentile of their norms.
        norm_for_10pct_step: norm after clipping at which nine of ten steps change the weights by at most 10% of their
            norm; NaN where steps do not grow with the gradient.
        largest_update: largest change of a parameter in a trusted step, as a share of its norm.
        target_max_abs: largest magnitude of the target, as the network sees it.
        final_to_best_ratio: final over best score on the test examples, 1 at best; NaN where unknown.
        overfits_after: epoch of the best test score, if that has become worse since while the training loss fell on;
            0 otherwise.
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
    largest_update: float
    target_max_abs: float
    final_to_best_ratio: float
    overfits_after: int

    @property
    def ran_away(self) -> bool:
        """Whether the run diverged, or stopped learning after its gradients broke out."""
        broke_out = self.norms is not None and self.norms.steps < self.steps
        return self.run.outcome == "diverged" or (self.run.outcome == "stalled" and broke_out)

    @property
    def clips(self) -> bool:
        """Whether the run clips at all."""
        return self.setting("clip.name") != "none"

    @property
    def learning_rate(self) -> float:
        """The rate of the run."""
        return float(self.setting("optimizer.lr"))

    def setting(self, name: str) -> str:
        """A setting of the run, as text; empty if it has none of that name."""
        return self.run.parameters.get(name, "")


def gather(run: StoredRun, telemetry: pd.DataFrame) -> Evidence:
    """Read the evidence from a run and its telemetry, one row a step.

    Steps are trusted up to the first outbreak, where a run did not learn; all finite ones, where it did.
    """
    norm = telemetry[keys.GRAD_NORM].to_numpy(float)
    finite = telemetry[np.isfinite(norm) & (norm > 0)]
    trusted = finite if run.outcome == "learned" else finite.iloc[: outbreak(finite[keys.GRAD_NORM].to_numpy(float))]
    parameter, factor = _spiking_parameter(trusted)
    return Evidence(
        run=run,
        norms=_norms(trusted) if len(trusted) else None,
        steps=len(telemetry),
        clip_fraction=run.metrics.get(keys.GRAD_CLIP_FRACTION, np.nan),
        coefficient=float(finite[keys.GRAD_COEFFICIENT].mean()) if len(finite) else np.nan,
        element_share=_element_share(trusted),
        spiking_parameter=parameter,
        spike_factor=factor,
        parameter_p90=_parameter_p90(trusted),
        norm_for_10pct_step=_norm_for_10pct_step(run, trusted),
        largest_update=_largest(trusted.filter(like="update/ratio/").to_numpy(float)),
        target_max_abs=_largest(telemetry["target/max_abs"].to_numpy(float)),
        final_to_best_ratio=_final_to_best_ratio(run),
        overfits_after=_overfits_after(run, telemetry),
    )


def outbreak(norms: Floats) -> int:
    """How many norms come before the first that is ten times the median of those before it; all, if none is.

    Example:
        >>> outbreak(np.array([3.0, 4.0, 3.0, 200.0, 5e6]))
        3
    """
    for place in range(1, len(norms)):
        if norms[place] > OUTBREAK * np.median(norms[:place]):
            return place
    return len(norms)


def _norms(trusted: pd.DataFrame) -> Norms:
    norm = trusted[keys.GRAD_NORM].to_numpy(float)
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
        value_p90=float(np.percentile(trusted[keys.GRAD_MAX_ABS].to_numpy(float), 90)),
    )


def _element_share(trusted: pd.DataFrame) -> float:
    """Median share of the largest element in the squared norm, over the spikes."""
    spikes = _spikes(trusted)
    shares = (spikes[keys.GRAD_MAX_ABS] / spikes[keys.GRAD_NORM]) ** 2
    return float(shares.median()) if len(shares) else np.nan


def _spiking_parameter(trusted: pd.DataFrame) -> tuple[str, float]:
    """The one parameter whose norm grows ten times over in spikes while no other's does so much as three times."""
    prefix = f"{keys.GRAD_NORM}/"
    columns = list(trusted.filter(like=prefix))
    spikes = _spikes(trusted)
    if len(columns) < 2 or not len(spikes):
        return "", np.nan
    growth = (spikes[columns].median() / trusted[columns].median().replace(0, np.nan)).fillna(1).sort_values()
    if growth.iloc[-1] >= 10 and growth.iloc[-2] < 3:
        return str(growth.index[-1]).removeprefix(prefix), float(growth.iloc[-1])
    return "", np.nan


def _parameter_p90(trusted: pd.DataFrame) -> float:
    norms = trusted.filter(like=f"{keys.GRAD_NORM}/")
    return float(norms.quantile(0.9).median()) if len(norms) else np.nan


def _norm_for_10pct_step(run: StoredRun, trusted: pd.DataFrame) -> float:
    """From how much the steps changed all weights together, for each unit of the clipped norm.

    The first steps are shorter than those that follow: momentum m has summed up a share of 1 - mᵏ at step k.
    """
    if run.parameters.get("optimizer.name") != "sgd":
        return np.nan
    change, weight = (np.sqrt((trusted.filter(like=f"{what}/norm/") ** 2).sum(axis=1)) for what in ("update", "weight"))
    share = 1 - float(run.parameters.get("optimizer.momentum", 0)) ** trusted["step"]
    each = (change / weight / trusted[keys.GRAD_NORM_CLIPPED] / share).replace([0, np.inf], np.nan).dropna()
    return 0.1 / float(each.quantile(0.9)) if len(each) else np.nan


def _spikes(trusted: pd.DataFrame) -> pd.DataFrame:
    norm = trusted[keys.GRAD_NORM]
    return trusted[norm >= np.percentile(norm, SPIKES)] if len(trusted) else trusted


def _largest(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else np.nan


def _final_to_best_ratio(run: StoredRun) -> float:
    final, best = run.metrics.get(keys.MSE.final_test, np.nan), run.metrics.get(keys.MSE.best_test, np.nan)
    return final / best if best > 0 else np.nan


def _overfits_after(run: StoredRun, telemetry: pd.DataFrame) -> int:
    best, loss = run.metrics.get(keys.BEST_EPOCH, 0), telemetry.groupby("epoch")[keys.LOSS_STEP].mean()
    if run.outcome != "learned" or best not in loss.index or not _final_to_best_ratio(run) > NOTABLE:
        return 0
    return int(best) if loss.iloc[-1] * NOTABLE < loss[best] else 0
