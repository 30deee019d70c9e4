"""What a probe has tried: remedies with what was measured, the best first."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np

from gradclip.diagnosis.conditions import EQUIVALENCE_FACTOR
from gradclip.diagnosis.remedy import Remedy

AS_IT_WAS = Remedy("the run as it was", "it may need no remedy")  # changes nothing


@dataclass(frozen=True)
class ProbeResult:
    """A remedy that a probe has tried, over one seed or a few.

    Attributes:
        remedy: what was tried.
        clips: whether it clips.
        errors: one for each seed, less being better; infinite where it diverged.
        learned: number of seeds that did better than a guess.
        measured: what was measured, as text: the score and its examples.
    """

    remedy: Remedy
    clips: bool
    errors: tuple[float, ...]
    learned: int
    measured: str

    @property
    def error(self) -> float:
        """The mean over the seeds; infinite where one diverged, since others may do so too."""
        return float(np.mean(self.errors))

    @property
    def works(self) -> bool:
        """Whether it did not diverge, and learned with most seeds."""
        return bool(np.isfinite(self.error)) and 2 * self.learned > len(self.errors)


def ranked(results: Sequence[ProbeResult]) -> list[ProbeResult]:
    """Return what works, the best first: of clipping the best threshold, and after what is as good without it.

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
    """Return what works as remedies, the advice first, whose reason says whether clipping is needed at all.

    What is worse than the run as it was, where that was tried too, is no remedy.
    """
    best = [*takewhile(lambda result: result.remedy != AS_IT_WAS, ranked(results))]
    remedies = [replace(result.remedy, why=result.measured) for result in best]
    other = next((result for result in best if result.clips != best[0].clips), None)
    if other is not None:
        what = "the best without clipping" if best[0].clips else "no clipping is needed: the best of it"
        why = f"{best[0].measured}; {what}, {other.remedy.what}, reaches {other.measured.partition(' on ')[0]}"
        remedies[0] = replace(remedies[0], why=why)
    return remedies


def last_resort(results: Sequence[ProbeResult]) -> list[Remedy]:
    """Return, where nothing works, the best that did not diverge: by the seeds that learned, then by the error.

    Example:
        >>> results = [ProbeResult(Remedy(str(error), ""), True, (error,), 0, "MSE") for error in (3.0, 2.0, np.inf)]
        >>> [(one.what, one.why) for one in last_resort(results)]
        [('2.0', 'MSE; nothing that was tried learned by then, but this did not diverge')]
    """
    finite = [result for result in results if np.isfinite(result.error)]
    if not finite or any(result.works for result in finite):
        return []
    best = min(finite, key=lambda result: (-result.learned, result.error))
    why = f"{best.measured}; nothing that was tried learned by then, but this did not diverge"
    return [replace(best.remedy, why=why)]
