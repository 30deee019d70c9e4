"""How often runs that differ only in their seed solved their problem."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from gradclip.sweep.results import JobResult

CONFIDENCE = 0.95


@dataclass(frozen=True)
class SuccessRate:
    """How many of several runs succeeded.

    Attributes:
        name: what the runs have in common.
        solved: how many succeeded.
        runs: how many there were.
    """

    name: str
    solved: int
    runs: int

    def interval(self) -> tuple[float, float]:
        """The 95% confidence interval of the rate, by Wilson's method (SciPy).

        Example:
            >>> low, high = SuccessRate("norm=1.0", solved=20, runs=20).interval()
            >>> f"{low:.2f} to {high:.2f}"
            '0.84 to 1.00'
        """
        from scipy.stats import binomtest

        interval = binomtest(self.solved, self.runs).proportion_ci(CONFIDENCE, method="wilson")
        return float(interval.low), float(interval.high)


def success_rates(jobs: Sequence[JobResult]) -> list[SuccessRate]:
    """The rate of each group of jobs whose names differ only in the seed, where the data say what success is."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for job in jobs:
        if job.solved is not None:
            groups[re.sub(r" seed=\d+$", "", job.name)].append(job.solved)
    return [SuccessRate(name, sum(solved), len(solved)) for name, solved in groups.items()]
