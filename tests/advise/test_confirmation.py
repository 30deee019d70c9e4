"""Whether advice held, and whether it was the clipping, from runs of known errors."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from gradclip import keys
from gradclip.advise.confirmation import ADVISED, ADVISED_STEP, AS_IT_WAS, Arm, control_of_advice, verdicts
from gradclip.advise.evidence import gather
from gradclip.advise.suggestions import SMALLER_STEP
from gradclip.compare.grouping import Group
from gradclip.compare.summary import GroupSummary, Metric, summarize_groups
from tests.support.evidence import made_run, made_telemetry

MSE = Metric(keys.MSE.final_test, sign=1, curve=keys.MSE.test)
GOOD, MIDDLING, BAD = range(10, 20), range(15, 25), range(30, 40)


def summary(
    name: str, test: Sequence[float], train: Sequence[float] | None = None, outcome: str = "learned"
) -> GroupSummary:
    pairs = zip(test, train or test, strict=True)
    metrics = [{keys.MSE.final_test: float(one), keys.MSE.final_train: float(other)} for one, other in pairs]
    runs = [replace(made_run(outcome), metrics=measured) for measured in metrics]
    return summarize_groups([Group(name, {}, runs)], MSE, {}, target=0.0)[0]


def said(**errors: Sequence[float]) -> str:
    names = {"was": AS_IT_WAS, "advised": ADVISED, "step": SMALLER_STEP, "advised_step": ADVISED_STEP}
    return "\n".join(verdicts({names[arm]: summary(arm, test) for arm, test in errors.items()}, MSE))


def test_advice_that_held_is_told_with_medians_and_probability() -> None:
    assert said(was=BAD, advised=GOOD).startswith(
        "The advice held: median 14.5 as advised, 34.5 as it was; probability of improvement 1.00 (0.80 to 1.00), p"
    )
    assert said(was=GOOD, advised=GOOD[::-1]).startswith("It cannot be said whether the advice held")


def test_advice_with_which_nothing_is_learned_did_not_hold_though_it_is_better() -> None:
    stalled = {AS_IT_WAS: summary("was", BAD), ADVISED: summary("advised", GOOD, outcome="stalled")}
    assert next(verdicts(stalled, MSE)).startswith(
        "The advice did not hold, most of its runs learn nothing: median 14.5"
    )


def test_advice_that_trains_better_and_predicts_worse_overfits() -> None:
    worse = {AS_IT_WAS: summary("was", GOOD), ADVISED: summary("advised", BAD, train=range(10))}
    told = list(verdicts(worse, MSE))
    assert told[0].startswith("The advice did not hold: median 34.5 as advised, 14.5 as it was")
    better = "On the training examples it is better, median 4.50 as advised and 14.5 as it was"
    assert told[1] == f"{better}: it trains better and overfits."


@pytest.mark.parametrize(
    ("rate_alone", "answer"),
    [
        (BAD, "it is the clipping, not only a smaller step"),
        (GOOD[::-1], "no number of seeds would tell: nothing shows that it is more than a smaller step"),
        (range(10), "it is only a smaller step, and a smaller rate does that better"),
    ],
)
def test_clipping_is_held_against_a_smaller_rate(rate_alone: Sequence[float], answer: str) -> None:
    told = said(was=GOOD, step=rate_alone)
    assert told.startswith("As it was against a smaller rate, no clipping: median 14.5 against")
    assert told.endswith(f"{answer}.")


def test_the_advised_clipping_has_a_smaller_rate_of_its_own_beside_it() -> None:
    told = said(was=BAD, advised=GOOD, advised_step=MIDDLING).splitlines()[-1]
    assert told.startswith("Advised against advised, but unclipped at a smaller rate: median 14.5 against 19.5")


def test_the_control_of_advice_has_the_rate_of_its_steps_and_is_none_of_the_other_arms() -> None:
    run = made_run(clip="norm", value="2.0", fraction=1.0)
    evidence = gather(run, made_telemetry(np.full(10, 4.0), clipped=np.full(10, 2.0)))
    (arm,) = control_of_advice(evidence, [])
    assert arm == Arm(ADVISED_STEP, ("clip=none", "optimizer.lr=0.005"))
    same = Arm(SMALLER_STEP, ("clip=none", "clip.value=3", "optimizer.lr=0.005"))
    assert control_of_advice(evidence, [same]) == []
    assert control_of_advice(gather(made_run(), made_telemetry(np.ones(10))), []) == []
