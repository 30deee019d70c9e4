"""Trials: remedies that a probe has tried, in the order of what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np

from gradclip.diagnosis.remedy import Remedy

AS_IT_WAS = Remedy("the run as it was", "it may need no remedy")  # changes nothing
AS_GOOD = 1.1  # factor of the error within which two settings are as good as each other; one seed differs by more


@dataclass(frozen=True)
class Trial:
    """A remedy that was tried over a few seeds.

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


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Return what works, the best first: of clipping the best threshold, and after what is as good without it.

    Example:
        >>> errors = {"norm at 5": 1.0, "norm at 9": 2.0, "scaled target": 1.05}
        >>> trials = [Trial(Remedy(what, ""), "norm" in what, (error,), 1, "") for what, error in errors.items()]
        >>> [trial.remedy.what for trial in ranked(trials)]
        ['scaled target', 'norm at 5']
    """
    working = sorted((trial for trial in trials if trial.works), key=lambda trial: trial.error)
    clipping = [trial for trial in working if trial.clips]
    best = [trial for trial in working if trial not in clipping[1:]]
    as_good = AS_GOOD * min((trial.error for trial in best), default=0.0)
    return sorted(best, key=lambda trial: (max(trial.error, as_good), trial.clips, trial.error))


def remedies_of(trials: Sequence[Trial]) -> list[Remedy]:
    """Return what works as remedies, the advice first, whose reason says whether clipping is needed at all.

    What is worse than the run as it was, where that was tried too, is no remedy.
    """
    best = [*takewhile(lambda trial: trial.remedy != AS_IT_WAS, ranked(trials))]
    remedies = [replace(trial.remedy, why=trial.measured) for trial in best]
    other = next((trial for trial in best if trial.clips != best[0].clips), None)
    if other is not None:
        what = "the best without clipping" if best[0].clips else "no clipping is needed: the best of it"
        why = f"{best[0].measured}; {what}, {other.remedy.what}, reaches {other.measured.partition(' on ')[0]}"
        remedies[0] = replace(remedies[0], why=why)
    return remedies
