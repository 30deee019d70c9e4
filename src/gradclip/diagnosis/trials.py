"""Trials: remedies that a probe has tried, in the order of what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from gradclip.diagnosis.remedy import Remedy

Kind = Literal["clipping", "scaled target", "smaller learning rate", "another optimizer"]
AS_GOOD = 1.1  # factor of the error within which two settings are as good as each other; one seed differs by more


@dataclass(frozen=True)
class Trial:
    """A remedy that was tried over a few seeds.

    Attributes:
        kind: of remedy.
        remedy: what was tried.
        errors: one for each seed, less being better; infinite where it diverged.
        learned: number of seeds that did better than a guess.
        measured: what was measured, as text: the score and its examples.
    """

    kind: Kind
    remedy: Remedy
    errors: tuple[float, ...]
    learned: int
    measured: str

    @property
    def error(self) -> float:
        """The median over the seeds; infinite where one diverged, since it may do so again."""
        return np.inf if np.inf in self.errors else float(np.median(self.errors))

    @property
    def works(self) -> bool:
        """Whether it did not diverge, and learned with most seeds."""
        return bool(np.isfinite(self.error)) and 2 * self.learned > len(self.errors)


def best_of_each_kind(trials: Sequence[Trial]) -> list[Trial]:
    """Return the best trial of each kind that works, the best first; clipping comes after what is as good without it.

    Example:
        >>> trials = [Trial(kind, Remedy(kind, ""), (error,), 1, "") for kind, error in
        ...           (("clipping", 1.0), ("scaled target", 1.05), ("clipping", 3.0), ("another optimizer", 2.0))]
        >>> [trial.error for trial in best_of_each_kind(trials)]
        [1.05, 1.0, 2.0]
    """
    ranked = sorted((trial for trial in trials if trial.works), key=lambda trial: trial.error)
    best = list({trial.kind: trial for trial in reversed(ranked)}.values())
    lowest = min((trial.error for trial in best), default=0.0)
    return sorted(best, key=lambda trial: (max(trial.error, lowest * AS_GOOD), trial.kind == "clipping", trial.error))


def remedies_of(trials: Sequence[Trial]) -> list[Remedy]:
    """Return what works as remedies, the advice first; its reason says whether clipping is needed at all."""
    best = best_of_each_kind(trials)
    remedies = [replace(trial.remedy, why=trial.measured) for trial in best]
    clips = [trial.kind == "clipping" for trial in best]
    if not best or len({*clips}) < 2:
        return remedies
    other = best[clips.index(not clips[0])]
    what = "the best without clipping" if clips[0] else "clipping does no better; the best of it"
    remedies[0] = replace(remedies[0], why=f"{best[0].measured}; {what}, {other.remedy.what}: {other.measured}")
    return remedies
