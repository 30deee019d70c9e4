"""Results of a probe: the remedies that it tried, with measured scores."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np

from gradclip.diagnosis.conditions import EQUIVALENCE_FACTOR
from gradclip.diagnosis.remedy import Remedy

ORIGINAL_SETTINGS = Remedy("the original settings", "they may need no remedy")  # changes nothing


@dataclass(frozen=True)
class ProbeResult:
    """Result of a remedy that a probe tried over one seed or a few.

    Attributes:
        remedy: the remedy.
        clips: whether it clips.
        errors: final error of each seed, lower is better; infinite if it diverged.
        learned: number of seeds that did better than a guess.
        measured: the measured score and the examples that it is from, as text.
    """

    remedy: Remedy
    clips: bool
    errors: tuple[float, ...]
    learned: int
    measured: str

    @property
    def error(self) -> float:
        """The mean error over the seeds; infinite if one diverged, since other seeds may diverge too."""
        return float(np.mean(self.errors))

    @property
    def works(self) -> bool:
        """Whether the remedy did not diverge, and learned with most seeds."""
        return bool(np.isfinite(self.error)) and 2 * self.learned > len(self.errors)


def names_of(results: Sequence[ProbeResult]) -> list[str]:
    """Return the names of the remedies; more than two thresholds are given as a range.

    Example:
        >>> from gradclip.diagnosis.remedy import clip_norm
        >>> changes = {"norm at 5": "5", "Adam": "", "norm at 0.5": "0.5", "norm at 50": "50"}
        >>> remedies = [Remedy(what, "", clip_norm(value)) for what, value in changes.items()]
        >>> names_of([ProbeResult(one, "norm" in one.what, (1.0,), 0, "") for one in remedies])
        ['norm at 3 thresholds from 0.5 to 50', 'Adam']
    """
    clipping = [one.remedy for one in results if one.clips]
    if len(clipping) <= 2:
        return [one.remedy.what for one in results]
    prefix, schedule = "clip.value=", "".join(clipping[0].what.partition(",")[1:])
    values = [change.removeprefix(prefix) for one in clipping for change in one.changes if change.startswith(prefix)]
    span = f"from {min(values, key=float)} to {max(values, key=float)}"
    others = [one.remedy.what for one in results if not one.clips]
    return [f"norm at {len(clipping)} thresholds {span}{schedule}", *others]


def ranked(results: Sequence[ProbeResult]) -> list[ProbeResult]:
    """Return the results that work, the best first; of those that clip, only the best.

    A result without clipping comes before an equally good one with it.

    Example:
        >>> errors = {"norm at 5": 1.0, "norm at 9": 2.0, "scaled target": 1.05}
        >>> results = [ProbeResult(Remedy(what, ""), "norm" in what, (error,), 1, "") for what, error in errors.items()]
        >>> [result.remedy.what for result in ranked(results)]
        ['scaled target', 'norm at 5']
    """
    working = sorted((result for result in results if result.works), key=lambda result: result.error)
    clipping = [result for result in working if result.clips]
    best = [result for result in working if result not in clipping[1:]]
    as_good = EQUIVALENCE_FACTOR * min((result.error for result in best), default=0.0)
    return sorted(best, key=lambda result: (max(result.error, as_good), result.clips, result.error))


def remedies_of(results: Sequence[ProbeResult]) -> list[Remedy]:
    """Return the remedies that work, the advice first; its reason says whether clipping is needed at all.

    If the probe also tried the original settings, remedies that are worse are dropped.
    """
    best = [*takewhile(lambda result: result.remedy != ORIGINAL_SETTINGS, ranked(results))]
    remedies = [replace(result.remedy, why=result.measured) for result in best]
    other = next((result for result in best if result.clips != best[0].clips), None)
    if other is not None:
        what = "the best without clipping" if best[0].clips else "no clipping is needed: the best clipped setting"
        why = f"{best[0].measured}; {what}, {other.remedy.what}, reaches {other.measured.partition(' on ')[0]}"
        remedies[0] = replace(remedies[0], why=why)
    return remedies


def last_resort(results: Sequence[ProbeResult]) -> list[Remedy]:
    """Return the best remedy that did not diverge, if none works: ranked by seeds that learned, then by error.

    Example:
        >>> results = [ProbeResult(Remedy(str(error), ""), True, (error,), 0, "MSE") for error in (3.0, 2.0, np.inf)]
        >>> [(one.what, one.why) for one in last_resort(results)]
        [('2.0', 'MSE; none of the settings tried learned anything by then, but this one did not diverge')]
    """
    finite = [result for result in results if np.isfinite(result.error)]
    if not finite or any(result.works for result in finite):
        return []
    best = min(finite, key=lambda result: (-result.learned, result.error))
    why = f"{best.measured}; none of the settings tried learned anything by then, but this one did not diverge"
    return [replace(best.remedy, why=why)]
