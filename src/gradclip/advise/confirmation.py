"""Confirmation of advice: tests of the arms that are planned before their runs. Read :func:`confirm_arms` first."""

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

Verdict = Literal["better", "worse", "as good", "inconclusive"]


@dataclass(frozen=True)
class Contrast:
    """The test of one arm against another, planned before the runs.

    Attributes:
        arm: the arm that the verdict is about.
        other: the arm that it is compared with.
        improvement: probability that a run of the arm beats the other arm's run of the same seed.
        lead: ranks by which the arm is ahead, mean over the seeds.
        p_value: p-value of the difference, adjusted for all contrasts.
        equivalence: p-value of the claim that errors differ by a factor of less than 1.1, adjusted for all contrasts;
            NaN if there is none.
        level: significance level of the p-values.
    """

    arm: GroupSummary
    other: GroupSummary
    improvement: Estimate
    lead: float
    p_value: float
    equivalence: float
    level: float

    @property
    def verdict(self) -> Verdict:
        """How the arm compares with the other."""
        if self.equivalence < self.level:
            return "as good"
        if self.p_value >= self.level:
            return "inconclusive"
        return "better" if self.lead > 0 else "worse"


@dataclass(frozen=True)
class Confirmation:
    """The results of all arms.

    Attributes:
        metric: metric by which the arms are compared.
        score: score that all runs have.
        summaries: summaries of the arms, by name.
        contrasts: the advice against every other arm, and the original settings against their control arms.
    """

    metric: Metric
    score: Score
    summaries: Mapping[str, GroupSummary]
    contrasts: Sequence[Contrast]

    @property
    def is_decided(self) -> bool:
        """Whether no contrast of the advice is inconclusive, so that no more seeds are needed."""
        return all(one.verdict != "inconclusive" for one in self.of_reference)

    @property
    def reference(self) -> GroupSummary:
        """The advice; the original settings if the advice does not differ from them."""
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
        summaries: summary of each arm, by name; all arms have the same seeds.
        metric: metric by which the arms are compared.
        level: significance level of the p-values.
    """
    names, run = [*summaries], summaries[ORIGINAL].group.runs[0]
    score, errors = stored_score(run.metrics, run.tags), error_matrix([*summaries.values()])
    assert score is not None  # otherwise choose_metric would have raised an error
    assert errors is not None  # the arms have the same seeds
    reference = ADVISED if ADVISED in summaries else ORIGINAL
    pairs = [(reference, name) for name in names if name != reference]
    pairs += [(ORIGINAL, name) for name in names if name in CONTROLS and reference != ORIGINAL]
    leads, p_values = planned_tests(errors, [(names.index(one), names.index(other)) for one, other in pairs])
    errors_of = dict(zip(names, errors.T, strict=True))
    alike = statistics.holm([statistics.equivalence_p_value(errors_of[one], errors_of[other]) for one, other in pairs])
    contrasts = []
    for number, (one, other) in enumerate(pairs):
        improvement = statistics.paired_improvement(errors_of[one], errors_of[other])
        lead, p_value = float(leads[number]), float(p_values[number])
        contrasts.append(Contrast(summaries[one], summaries[other], improvement, lead, p_value, alike[number], level))
    return Confirmation(metric, score, summaries, contrasts)


def count_learned(arm: GroupSummary) -> int:
    """Return the number of runs that learned, or that finished if their score has no baseline."""
    return sum(run.outcome in ENDED_WELL for run in arm.group.runs)


def learned(arm: GroupSummary) -> bool:
    """Return whether at least half of the runs learned."""
    return 2 * count_learned(arm) >= len(arm.errors)
