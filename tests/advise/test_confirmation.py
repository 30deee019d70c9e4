"""Verdicts on advice and on clipping, from runs of known errors."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from gradclip import keys
from gradclip.advise.confirmation import ADVISED, ADVISED_UNCLIPPED, ORIGINAL, Arm, control_of_advice, verdicts
from gradclip.advise.evidence import gather
from gradclip.compare.grouping import Group
from gradclip.compare.metric import Metric
from gradclip.compare.summary import GroupSummary, summarize_groups
from gradclip.diagnosis.suggestions import UNCLIPPED_EQUIVALENT
from tests.support.evidence import made_run, made_telemetry

MSE = Metric(keys.MSE.final_test, sign=1, curve=keys.MSE.test)
GOOD, MIDDLING, BAD = range(10, 20), range(15, 25), range(30, 40)


def summary(
    name: str, test: Sequence[float], train: Sequence[float] | None = None, outcome: str = "learned"
) -> GroupSummary:
    errors = zip(test, train or test, strict=True)
    metrics = [{keys.MSE.final_test: float(first), keys.MSE.final_train: float(second)} for first, second in errors]
    runs = [replace(made_run(outcome), metrics=measured) for measured in metrics]
    return summarize_groups([Group(name, {}, runs)], MSE, {}, target=0.0)[0]


def verdict(**errors: Sequence[float]) -> str:
    names = {
        "original": ORIGINAL, "advised": ADVISED, "unclipped": UNCLIPPED_EQUIVALENT,
        "advised_unclipped": ADVISED_UNCLIPPED[UNCLIPPED_EQUIVALENT],
    }  # fmt: skip
    return "\n".join(verdicts({names[arm]: summary(arm, test) for arm, test in errors.items()}, MSE))


def test_advice_that_helped_is_reported_with_medians_and_probability() -> None:
    assert verdict(original=BAD, advised=GOOD).startswith(
        "The advice helped: median 14.5 advised, 34.5 original; probability of improvement 1.00 (0.80 to 1.00), p"
    )
    assert verdict(original=GOOD, advised=GOOD[::-1]).startswith("It is uncertain whether the advice helped")


def test_advice_with_which_nothing_is_learned_did_not_help_though_it_is_better() -> None:
    stalled = {ORIGINAL: summary("original", BAD), ADVISED: summary("advised", GOOD, outcome="stalled")}
    assert next(verdicts(stalled, MSE)).startswith(
        "The advice did not help, most of its runs learn nothing: median 14.5"
    )


def test_advice_that_trains_better_and_predicts_worse_overfits() -> None:
    worse = {ORIGINAL: summary("original", GOOD), ADVISED: summary("advised", BAD, train=range(10))}
    lines = list(verdicts(worse, MSE))
    assert lines[0].startswith("The advice made it worse: median 34.5 advised, 14.5 original")
    better = "On the training examples it is better, median 4.50 advised and 14.5 original"
    assert lines[1] == f"{better}: it trains better and overfits."


@pytest.mark.parametrize(
    ("unclipped", "answer"),
    [
        (BAD, ": clipping does more than shorten the steps"),
        (GOOD[::-1], ": no evidence that clipping does more than shorten the steps"),
        (range(10), ": clipping only shortens the steps, and a smaller learning rate does that better"),
    ],
)
def test_clipping_is_compared_with_a_smaller_learning_rate(unclipped: Sequence[float], answer: str) -> None:
    text = verdict(original=GOOD, unclipped=unclipped)
    assert text.startswith("Original vs. smaller learning rate, no clipping: median 14.5 vs. ")
    assert text.endswith(f"{answer}.")


def test_the_advised_clipping_is_compared_with_a_smaller_learning_rate_of_its_own() -> None:
    line = verdict(original=BAD, advised=GOOD, advised_unclipped=MIDDLING).splitlines()[-1]
    assert line.startswith("Advised vs. advised, but unclipped at a smaller learning rate: median 14.5 vs. 19.5")


def test_the_control_of_advice_has_the_learning_rate_of_its_steps_and_repeats_no_other_arm() -> None:
    run = made_run(clip="norm", value="2.0", fraction=1.0)
    evidence = gather(run, made_telemetry(np.full(10, 4.0), clipped=np.full(10, 2.0)))
    (arm,) = control_of_advice(evidence, [])
    assert arm == Arm(ADVISED_UNCLIPPED[UNCLIPPED_EQUIVALENT], ("clip=none", "optimizer.lr=0.005"))
    same = Arm(UNCLIPPED_EQUIVALENT, ("clip=none", "clip.value=3", "optimizer.lr=0.005"))
    assert control_of_advice(evidence, [same]) == []
    assert control_of_advice(gather(made_run(), made_telemetry(np.ones(10))), []) == []


def test_adam_undoes_a_constant_factor_so_that_its_control_keeps_the_rate() -> None:
    run = made_run(clip="norm", value="2.0", fraction=1.0, optimizer="adam")
    evidence = gather(run, made_telemetry(np.full(10, 4.0), clipped=np.full(10, 2.0)))
    assert control_of_advice(evidence, []) == [Arm("advised, but unclipped", ("clip=none",))]
