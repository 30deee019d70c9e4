"""Each verdict on advice, and the recommendation, follows from the known errors of the arms."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from gradclip.advise.arms import ADVISED, ADVISED_UNCLIPPED, ORIGINAL, Arm
from gradclip.advise.confirmation import Confirmation, confirm_arms
from gradclip.advise.recommendation import conclusion
from gradclip.advise.verdicts import notes, tables, verdicts
from gradclip.compare.grouping import Group
from gradclip.compare.metric import choose_metric
from gradclip.compare.summary import summarize_groups
from gradclip.diagnosis.suggestions import UNCLIPPED_EQUIVALENT
from gradclip.scores import MSE, LoggedScore
from tests.support.evidence import made_run

SCALED, UNCLIPPED = "scaled target", ADVISED_UNCLIPPED[UNCLIPPED_EQUIVALENT]
NAMES = {"original": ORIGINAL, "advised": ADVISED, "scaled": SCALED, "control": UNCLIPPED_EQUIVALENT, "own": UNCLIPPED}
GOOD, BAD, WORST = np.arange(10.0, 20), np.arange(30.0, 40), np.full(10, np.inf)
OVERRIDES = {ORIGINAL: ("clip=norm",), ADVISED: ("clip=norm", "clip.value=7"), SCALED: ("clip=none", "data.x=y")}


def confirmed(
    stalled: Sequence[str] = (), train: Sequence[float] | None = None, level: float = 0.05, **errors: np.ndarray
) -> Confirmation:
    """Return a confirmation from errors on the validation rows; errors on the test rows are larger by one."""
    groups = []
    for arm, values in errors.items():
        runs = [
            replace(
                made_run("diverged" if np.isinf(value) else "stalled" if arm in stalled else "learned", seed=str(seed)),
                metrics={
                    MSE.final("validation"): value,
                    MSE.final("test"): value + 1,
                    MSE.final("train"): train[seed] if train is not None and arm == "advised" else value,
                },
            )
            for seed, value in enumerate(values.tolist())
        ]
        groups.append(Group(NAMES[arm], {}, runs))
    metric = choose_metric([run for group in groups for run in group.runs])
    summaries = {one.group.label: one for one in summarize_groups(groups, metric, {}, target=0.0)}
    return confirm_arms({group.label: summaries[group.label] for group in groups}, metric, level)


def sentence(found: Confirmation) -> str:
    return conclusion(found, [Arm(name, OVERRIDES.get(name, ())) for name in found.summaries])[0]


def test_advice_that_is_better_than_everything_is_recommended() -> None:
    found = confirmed(original=WORST, advised=GOOD, scaled=BAD, own=BAD)
    assert [(one.other.group.label, one.verdict) for one in found.contrasts] == [
        (ORIGINAL, "better"), (SCALED, "better"), (UNCLIPPED, "better"),
    ]  # fmt: skip
    assert [*verdicts(found)] == [
        "Advised vs. original, median 14.5 vs. diverged: the advice helps.",
        "Advised vs. scaled target, median 14.5 vs. 34.5: better.",
        "Advised vs. advised, but unclipped at a smaller learning rate, median 14.5 vs. 34.5: clipping helps.",
    ]
    assert found.is_decided
    expected = "median 14.5 on validation rows (15.5 on test rows), while the original settings diverged."
    assert sentence(found) == f"Use clip=norm clip.value=7: {expected}"


def test_a_score_that_a_module_logs_is_named_instead_of_its_rows() -> None:
    found = replace(confirmed(original=WORST, advised=GOOD), score=LoggedScore("reward", np.inf))
    assert sentence(found).startswith("Use clip=norm clip.value=7: median reward 14.5 (15.5 on test rows), while")


def test_a_remedy_that_is_better_than_the_advice_is_recommended() -> None:
    found = confirmed(original=WORST, advised=BAD, scaled=GOOD)
    assert "Advised vs. scaled target, median 34.5 vs. 14.5: worse." in [*verdicts(found)]
    assert sentence(found).startswith("Use clip=none data.x=y (scaled target): median 14.5 on validation rows")
    assert sentence(found).endswith("while the original settings diverged; shown to be better than the advice.")


def test_an_equally_good_remedy_is_named() -> None:
    found = confirmed(original=WORST, advised=GOOD, scaled=GOOD * 1.01)
    assert "Advised vs. scaled target, median 14.5 vs. 14.6: as good, within a factor of 1.1." in [*verdicts(found)]
    assert found.is_decided
    assert sentence(found).endswith("diverged; as good (within a factor of 1.1): scaled target.")


def test_an_inconclusive_contrast_is_reported_as_such() -> None:
    found = confirmed(original=GOOD, advised=GOOD[::-1])
    assert [*verdicts(found)] == ["Advised vs. original, median 14.5 vs. 14.5: inconclusive."]
    assert not found.is_decided
    assert sentence(found) == (
        "Keep the original settings: median 14.5 on validation rows (15.5 on test rows); not distinguishable from the "
        "advice with 10 seeds."
    )


def test_the_only_arm_that_learns_is_recommended_even_after_few_seeds() -> None:
    found = confirmed(original=WORST[:3], advised=GOOD[:3])
    assert [one.verdict for one in found.contrasts] == ["inconclusive"]
    assert sentence(found).startswith("Use clip=norm clip.value=7: median 11.0 on validation rows")


@pytest.mark.parametrize("arm", ["original", "advised"])
def test_clipping_gets_no_credit_if_nothing_is_learned(arm: str) -> None:
    own = {"original": "control", "advised": "own"}[arm]
    found = confirmed(stalled=[arm], **{"original": BAD, "advised": BAD, arm: GOOD, own: WORST})
    lines = [line for line in verdicts(found) if line.startswith(f"{arm.capitalize()} vs. ") and "diverged" in line]
    assert len(lines) == 1
    assert lines[0].endswith(": better, but most of its runs learn nothing.")
    assert not any("clipping helps" in line or "the advice helps" in line for line in verdicts(found))


def test_advice_that_learns_nothing_is_not_recommended() -> None:
    found = confirmed(stalled=["advised"], original=WORST, advised=GOOD, scaled=BAD)
    assert sentence(found).startswith("Use clip=none data.x=y (scaled target): median 34.5")
    assert sentence(found).endswith("; most runs with the advised settings learn nothing.")
    nothing = confirmed(stalled=["advised", "scaled"], original=WORST, advised=GOOD, scaled=BAD)
    assert sentence(nothing).startswith("Use none of these: most runs of every arm learn nothing")


def test_advice_that_trains_better_but_predicts_worse_overfits() -> None:
    lines = [*verdicts(confirmed(original=GOOD, advised=BAD, train=np.arange(10.0).tolist()))]
    assert lines[0] == "Advised vs. original, median 34.5 vs. 14.5: the advice makes it worse."
    better = "On the training rows the advice is better, median 4.50 instead of 14.5"
    assert lines[1] == f"{better}: it trains better but overfits."


def test_the_training_loss_of_a_module_is_better_if_it_is_lower_although_its_reward_is_better_if_higher() -> None:
    found = confirmed(original=GOOD, advised=BAD)
    found = replace(found, score=LoggedScore("reward", np.inf), metric=replace(found.metric, sign=-1))
    for name, arm in found.summaries.items():
        for run in arm.group.runs:
            run.metrics["final/loss/train"] = 2.0 if name == ADVISED else 3.0
    assert "On the training rows the advice is better, median 2.00 instead of 3.00" in [*verdicts(found)][1]


def test_the_clipping_of_the_original_settings_is_compared_with_smaller_steps() -> None:
    found = confirmed(original=GOOD, advised=GOOD / 10, control=GOOD / 2)
    assert [*verdicts(found)][-1].endswith("median 14.5 vs. 7.25: better without clipping.")
    assert [*verdicts(confirmed(original=GOOD, advised=GOOD / 10, control=BAD))][-1].endswith("clipping helps.")


def test_if_the_advice_is_to_change_nothing_the_original_settings_are_the_reference() -> None:
    found = confirmed(original=GOOD, scaled=BAD)
    assert [*verdicts(found)] == ["Original vs. scaled target, median 14.5 vs. 34.5: better."]
    assert sentence(found).startswith("Keep the original settings: median 14.5 on validation rows (15.5 on test rows).")


def test_verdicts_agree_with_the_table_at_the_level() -> None:
    found = confirmed(original=BAD, advised=GOOD, scaled=GOOD * 1.01, level=0.001)
    assert {one.verdict for one in found.contrasts} == {"inconclusive"}
    arms, contrasts = tables(found)
    assert arms.rows[0] == ("original", "34.5 (31.0 to 38.0)", "35.5", "10 of 10", "0 of 10")
    assert [row[-1] for row in contrasts.rows] == ["inconclusive"] * 2
    assert contrasts.rows[0][2:5] == ("1.00 (0.69 to 1.00)", "0.002", "1")
    assert "p below 0.001" in next(notes(found))


def test_too_few_seeds_for_a_verdict_are_reported() -> None:
    found = confirmed(original=BAD[:3], advised=GOOD[:3])
    assert "3 seeds cannot show a difference at the 5% level" in [*notes(found)][-1]
    assert not any("cannot show" in note for note in notes(confirmed(original=BAD, advised=GOOD)))
