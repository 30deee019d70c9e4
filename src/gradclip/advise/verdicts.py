"""Tables and verdict sentences of a confirmation."""

from collections.abc import Iterator
from dataclasses import replace
from math import isnan

from gradclip.advise.arms import ADVISED, ADVISED_UNCLIPPED, CONTROLS, NORMALIZED, ORIGINAL
from gradclip.advise.confirmation import Confirmation, Contrast, count_learned, learned
from gradclip.compare import statistics
from gradclip.compare.design import design_sentence
from gradclip.compare.report import ON_TEST, format_error, format_estimate
from gradclip.diagnosis.conditions import EQUIVALENCE_FACTOR
from gradclip.formatting import Table
from gradclip.scores import LoggedScore

WITHIN = f"within a factor of {EQUIVALENCE_FACTOR}"
OF_CLIPPING = {  # contrasts that show whether clipping does more than shorten the steps
    *((ADVISED, name) for name in ADVISED_UNCLIPPED.values()),
    *((ORIGINAL, name) for name in CONTROLS - {NORMALIZED}),
}


def tables(found: Confirmation) -> list[Table]:
    """Return the table of the arms and the table of the contrasts."""
    return [_arm_table(found), _contrast_table(found)]


def _arm_table(found: Confirmation) -> Table:
    metric, arms = found.metric, found.summaries.values()
    columns = {
        "arm": [*found.summaries],
        f"{metric.name}, median (95%)": [format_estimate(arm.median, metric) for arm in arms],
    }
    if metric.reported:
        columns[ON_TEST] = [format_error(arm.test_median.value, metric) for arm in arms if arm.test_median]
    columns["learned"] = [f"{count_learned(arm)} of {len(arm.errors)}" for arm in arms]
    columns["diverged"] = [f"{arm.count('diverged')} of {len(arm.errors)}" for arm in arms]
    return Table.of_columns(f"Arms, {found.seeds} seeds each", columns)


def _contrast_table(found: Confirmation) -> Table:
    tests = found.contrasts
    words: list[str] = [one.verdict for one in tests]
    intervals = [f"{value:.2f} ({low:.2f} to {high:.2f})" for value, low, high in (one.improvement for one in tests)]
    columns = {
        "arm": [one.arm.group.label for one in tests],
        "against": [one.other.group.label for one in tests],
        "probability of improvement": intervals,
        "p: different": [f"{one.p_value:.2g}" for one in tests],
        "p: as good": ["" if isnan(one.equivalence) else f"{one.equivalence:.2g}" for one in tests],
        "verdict": words,
    }
    return Table.of_columns("Contrasts, planned before the runs", columns)


def notes(found: Confirmation) -> Iterator[str]:
    """Yield the methods behind the verdicts, whether there are too few seeds, and a caveat if test rows were used."""
    yield (
        "Runs of the same seed are compared in pairs. Better or worse: p below "
        f"{found.contrasts[0].level:.2g} in a sign-flip test of ranks, where diverged runs rank last, adjusted for all "
        f"contrasts (largest difference, step-down). As good: {found.metric.ratios} differ by a factor of less than "
        f"{EQUIVALENCE_FACTOR} in two one-sided signed-rank tests of the ratios with Holm correction."
    )
    if found.seeds < statistics.fewest_seeds():
        yield design_sentence(found.seeds)
    if found.metric.caveat:
        yield f"{found.metric.caveat} Whether a run learned is judged on its training rows."


def verdicts(found: Confirmation) -> Iterator[str]:
    """Yield a sentence for each contrast."""
    for one in found.contrasts:
        name, other = one.arm.group.label, one.other.group.label
        medians = " vs. ".join(format_error(arm.median.value, found.metric) for arm in (one.arm, one.other))
        yield f"{name.capitalize()} vs. {other}, median {medians}: {_meaning(one, name, other)}."
    if ADVISED in found.summaries and found.against(ORIGINAL).verdict == "worse":
        yield from _overfitting(found)


def _meaning(one: Contrast, name: str, other: str) -> str:
    if one.verdict == "as good":
        return f"as good, {WITHIN}"
    if one.verdict == "better" and not learned(one.arm):
        return "better, but most of its runs learn nothing"
    if (name, other) in OF_CLIPPING:
        return {"better": "clipping helps", "worse": "better without clipping"}.get(one.verdict, one.verdict)
    if (name, other) == (ADVISED, ORIGINAL):
        return {"better": "the advice helps", "worse": "the advice makes it worse"}.get(one.verdict, one.verdict)
    return one.verdict


def _overfitting(found: Confirmation) -> Iterator[str]:
    """Yield a sentence if the advice is better on the training rows, although it is worse by the metric."""
    sign = 1 if isinstance(found.score, LoggedScore) else found.metric.sign  # a module has a loss there
    train = replace(found.metric, name=found.score.final("train"), sign=sign)
    new, old = (statistics.median(train.errors(found.summaries[name].group.runs)).value for name in (ADVISED, ORIGINAL))
    if new < old:
        yield (
            f"On the training rows the advice is better, median {format_error(new, train)} instead of "
            f"{format_error(old, train)}: it trains better but overfits."
        )
