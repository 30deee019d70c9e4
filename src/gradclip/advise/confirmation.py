"""Confirmation of advice: the tests of the arms, planned before their runs. Read :func:`confirm_arms` first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gradclip.advise.arms import ADVISED, CONTROLS, ORIGINAL
from gradclip.compare import statistics
from gradclip.compare.metric import Metric
from gradclip.compare.planned import planned_tests
from gradclip.compare.statistics import Estimate
from gradclip.compare.summary import GroupSummary, error_matrix
from gradclip.diagnosis.evidence import ENDED_WELL
from gradclip.scores import Score, stored_score

Verdict = Literal["better", "worse", "as good", "not told apart"]


@dataclass(frozen=True)
class Contrast:
    """The test of one arm against another, planned before the runs.

    Attributes:
        arm: whose name the verdict is about.
        other: the arm that it is held against.
        improvement: probability that a run of the arm beats the other's run of the same seed.
        lead: ranks by which the arm is ahead, the mean over the seeds.
        p_value: of the difference, adjusted for all contrasts.
        equivalence: p-value of the claim that scores differ by a factor of less than 1.1, adjusted; NaN for none.
        level: below which a p-value is significant.
    """

    arm: GroupSummary
    other: GroupSummary
    improvement: Estimate
    lead: float
    p_value: float
    equivalence: float
    level: float

    @property
    def equivalent(self) -> bool:
        """Whether the scores are shown to differ by a factor of less than 1.1."""
        return self.equivalence < self.level

    @property
    def verdict(self) -> Verdict:
        """What is shown of the arm against the other."""
        if self.equivalent:
            return "as good"
        if self.p_value >= self.level:
            return "not told apart"
        return "better" if self.lead > 0 else "worse"


@dataclass(frozen=True)
class Confirmation:
    """What the runs of all arms show.

    Attributes:
        metric: that chooses.
        score: that all runs have.
        summaries: of the arms, by name.
        contrasts: the advice against every other arm, and the run as it was against its control arms.
    """

    metric: Metric
    score: Score
    summaries: Mapping[str, GroupSummary]
    contrasts: Sequence[Contrast]

    @property
    def is_decided(self) -> bool:
        """Whether more seeds would change nothing: each contrast of the advice is decided."""
        return all(one.verdict != "not told apart" for one in self.of_reference)

    @property
    def reference(self) -> GroupSummary:
        """The advice; the run as it was, where that is what it did."""
        return self.summaries.get(ADVISED, self.summaries[ORIGINAL])

    @property
    def of_reference(self) -> list[Contrast]:
        """The contrasts of the advice."""
        return [one for one in self.contrasts if one.arm is self.reference]

    @property
    def seeds(self) -> int:
        """Number of runs of each arm."""
        return len(self.reference.errors)

    def against(self, name: str) -> Contrast:
        """Return the contrast of the advice with another arm."""
        return next(one for one in self.of_reference if one.other.group.label == name)


def confirm_arms(summaries: Mapping[str, GroupSummary], metric: Metric, level: float) -> Confirmation:
    """Test the planned contrasts of arms.

    Args:
        summaries: of the runs of each arm, by its name; all have the same seeds.
        metric: that chooses.
        level: below which a p-value is significant.
    """
    names, run = [*summaries], summaries[ORIGINAL].group.runs[0]
    score, errors = stored_score(run.metrics, run.tags), error_matrix([*summaries.values()])
    assert score is not None  # else no metric could be chosen
    assert errors is not None  # the arms have the same seeds
    reference = ADVISED if ADVISED in summaries else ORIGINAL
    pairs = [(reference, name) for name in names if name != reference]
    pairs += [(ORIGINAL, name) for name in names if name in CONTROLS and reference != ORIGINAL]
    numbers = [(names.index(one), names.index(other)) for one, other in pairs]
    leads, p_values = planned_tests(errors, numbers)
    both = [(errors[:, first], errors[:, second]) for first, second in numbers]
    alike = statistics.holm([statistics.equivalence_p_value(*two) for two in both])
    contrasts = [
        Contrast(
            summaries[one], summaries[other], statistics.paired_improvement(*two), lead, p_value, equivalence, level
        )
        for (one, other), two, lead, p_value, equivalence in zip(
            pairs, both, leads.tolist(), p_values.tolist(), alike, strict=True
        )
    ]
    return Confirmation(metric, score, summaries, contrasts)


def count_learned(arm: GroupSummary) -> int:
    """Return the number of runs that did better than a guess, or ended well where no guess is known."""
    return sum(run.outcome in ENDED_WELL for run in arm.group.runs)


def learned(arm: GroupSummary) -> bool:
    """Whether at least half of the runs learned."""
    return 2 * count_learned(arm) >= len(arm.errors)
