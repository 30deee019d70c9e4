"""The outcome, scores, tags and notes of a run follow from its curves and its record."""

import math
from dataclasses import replace
from functools import partial
from math import nan

import numpy as np
import pytest

from gradclip.data.score_scale import ScoreScale
from gradclip.scores import ACCURACY, MSE, LoggedScore
from gradclip.telemetry.divergence import Divergence
from gradclip.training.outcome import NO_SCORE, summarize
from tests.support import records

MSE_SCALE = ScoreScale(MSE, baseline=100.0)
ACCURACY_SCALE = ScoreScale(ACCURACY, baseline=0.25, solved_at=0.99)
make_record = partial(records.make_record, names=("weight",))
RECORD = make_record([1.0, 2.0, 3.0])


def judge(record, score_scale, train, test, **others):
    return summarize(record, score_scale, {"train": train, **others, "test": test})


@pytest.mark.parametrize(
    ("final", "outcome"), [(89.9, "learned"), (90.1, "stalled"), (1e9, "stalled"), (np.nan, "diverged")]
)
def test_the_outcome_of_finite_gradients_depends_on_the_final_training_error(final, outcome):
    assert judge(RECORD, MSE_SCALE, [200.0, final], [300.0, 50.0]).outcome == outcome


@pytest.mark.parametrize(("final", "outcome"), [(35.0, "learned"), (37.0, "stalled")])
def test_the_outcome_is_judged_by_the_baseline_on_the_validation_examples(final, outcome):
    scale = ScoreScale(MSE, baseline=100.0, on_split={"train": 100.0, "validation": 40.0, "test": 100.0})
    assert judge(RECORD, scale, [0.0], [0.0], validation=[final]).outcome == outcome


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_non_finite_error_on_any_split_is_a_divergence(bad):
    for train, validation, test in ([bad, 1.0, 1.0], [1.0, bad, 1.0], [1.0, 1.0, bad]):
        summary = judge(RECORD, MSE_SCALE, [train], [test], validation=[validation])
        assert summary.outcome == "diverged"
        assert all(map(math.isnan, summary.scores.values()))


def test_a_non_finite_weight_is_a_divergence_even_if_the_errors_are_finite():
    summary = judge(make_record([1.0, np.inf, 3.0], weights=[1.0, np.inf, np.inf]), MSE_SCALE, [5.0], [6.0])
    assert summary.outcome == "diverged"
    assert summary.divergence == Divergence(2, 1, "gradient weight")
    assert math.isnan(summary.scores["train"])
    assert summary.best_score == 6.0  # reached before the divergence


@pytest.mark.parametrize(
    ("score", "has_loss", "outcome", "notes"),
    [
        ("loss/train", False, "finished", (NO_SCORE,)),
        ("loss/train", True, "diverged", ()),
        ("val_loss", False, "diverged", ()),
    ],
)
def test_an_unknown_loss_is_not_a_divergence(score, has_loss, outcome, notes):
    record = replace(RECORD, has_loss=np.full(3, has_loss))
    summary = judge(record, ScoreScale(LoggedScore(score, -math.inf)), [nan], [nan])
    assert (summary.outcome, summary.notes) == (outcome, notes)


def test_the_best_epoch_is_the_first_with_the_lowest_finite_error_counted_from_1():
    summary = judge(RECORD, MSE_SCALE, [9.0] * 5, [np.inf, 4.0, 2.0, 2.0, np.nan])
    assert (summary.best_epoch, summary.best_score) == (3, 2.0)


def test_validation_rows_determine_the_best_epoch_and_the_outcome():
    summary = judge(RECORD, MSE_SCALE, [50.0, 10.0, 5.0], [70.0, 60.0, 40.0], validation=[91.0, 80.0, 95.0])
    assert (summary.best_epoch, summary.best_score, summary.outcome) == (2, 80.0, "stalled")
    assert dict(summary.scores) == {"train": 5.0, "validation": 95.0, "test": 40.0}
    metrics = summary.metrics()
    assert (metrics["final/mse_validation"], metrics["best/mse_validation"]) == (95.0, 80.0)
    assert "best/mse_test" not in metrics


@pytest.mark.parametrize(("validation", "solved"), [([0.5, 0.98], False), ([0.99, 0.5], True)])
def test_validation_examples_determine_whether_a_task_is_solved(validation, solved):
    assert judge(RECORD, ACCURACY_SCALE, [0.9, 1.0], [1.0, 1.0], validation=validation).solved == solved


@pytest.mark.parametrize("test_curve", [[], [np.nan, np.inf]])
def test_there_is_no_best_epoch_without_a_finite_error(test_curve):
    summary = judge(RECORD, MSE_SCALE, [np.nan] * len(test_curve), test_curve)
    assert summary.outcome == "diverged"
    assert summary.best_epoch == 0
    assert math.isnan(summary.best_score)
    assert not {"best/mse_test", "best/epoch"} & set(summary.metrics())


def test_a_run_that_learned_has_all_metrics():
    record = make_record([1, 2, 3, 4], norms_clipped=[1, 2, 2, 2])
    summary = judge(record, MSE_SCALE, [9.0, 5.0], [8.0, 6.0])
    assert summary.metrics() == pytest.approx(
        {
            "final/mse_train": 5.0,
            "final/mse_test": 6.0,
            "best/mse_test": 6.0,
            "best/epoch": 2.0,
            "grad/clip_fraction": 0.5,
            "grad/skip_count": 0.0,
            "grad/norm_p50": 2.5,
            "grad/norm_p90": 3.7,
            "grad/norm_p99": 3.97,
            "grad/norm_max": 4.0,
        }
    )
    assert summary.tags() == {"outcome": "learned"}
    assert summary.steps == 4


def test_metrics_of_a_diverged_run_are_nan_or_omitted_but_never_infinite():
    summary = judge(make_record([np.inf, np.nan], loss=[1.0, np.inf]), MSE_SCALE, [np.inf], [np.inf])
    metrics = summary.metrics()
    assert metrics == pytest.approx(
        {"final/mse_train": nan, "final/mse_test": nan, "grad/skip_count": 0.0}, nan_ok=True
    )


def test_tags_of_a_diverged_run_give_the_step_the_epoch_and_the_place():
    tags = judge(make_record([1.0, 2.0, 3.0], loss=[1.0, 1.0, np.nan]), MSE_SCALE, [np.nan], [np.nan]).tags()
    assert tags == {"outcome": "diverged", "diverged_step": "3", "diverged_epoch": "2", "diverged_in": "loss"}


def test_a_divergence_of_only_the_score_has_a_place():
    summary = judge(make_record([1.0] * 6), MSE_SCALE, [3.0, 2.0, 1.0], [3.0, np.inf, np.inf])
    assert (summary.outcome, summary.divergence) == ("diverged", Divergence(4, 2, "score"))
    assert summary.tags()["diverged_in"] == "score"


@pytest.mark.parametrize(
    ("record", "note"),
    [
        (make_record([1, 2, 3], norms_clipped=[1, 0, 0]), "2 finite gradients were set to zero, first at step 2"),
        (make_record([1, 2, 3], norms_clipped=[1, 0, 0], skipped=[0, 1, 1]), "2 updates were skipped, first at step 2"),
        (make_record([1, 2], skipped=[1, 1], scaler_skipped=[0, 1]), "2 updates were skipped, 1 of them by the"),
        (make_record([1, 2], skipped=[0, 1]), "1 update was skipped, first at step 2"),
        (make_record([1, 2, 3], nonfinite=[0, 3, 0]), "1 step had a non-finite gradient"),
        (make_record([1, 0, 0]), "every gradient is zero from step 2 on: the network is dead or saturated"),
        (make_record([0, 0, 0]), "every gradient is zero from step 1 on: the network is dead or saturated"),
    ],
)
def test_gradients_that_are_zero_skipped_or_non_finite_are_noted(record, note):
    (actual,) = judge(record, MSE_SCALE, [5.0], [6.0]).notes
    assert actual.startswith(note)


def test_a_healthy_run_has_no_notes():
    assert judge(make_record([1.0, 0.0, 3.0]), MSE_SCALE, [5.0], [6.0]).notes == ()


@pytest.mark.parametrize(
    ("final", "best", "outcome", "solved"),
    [(0.30, 0.32, "stalled", False), (0.33, 0.98, "learned", False), (0.5, 0.99, "learned", True)],
)
def test_accuracy_is_judged_relative_to_chance_and_solved_by_its_best_epoch(final, best, outcome, solved):
    summary = judge(RECORD, ACCURACY_SCALE, [0.25, final], [best, 0.3])
    assert (summary.outcome, summary.solved, summary.best_score, summary.best_epoch) == (outcome, solved, best, 1)
    assert summary.metrics().keys() >= {"final/accuracy_train", "final/accuracy_test", "best/accuracy_test"}
    assert summary.tags() == {"outcome": outcome, "solved": str(solved).lower()}


def test_an_error_at_or_below_its_threshold_is_solved():
    score_scale = ScoreScale(MSE, baseline=1 / 6, solved_at=0.01)
    assert [score_scale.is_solved(error) for error in (0.009, 0.01, 0.011, math.nan)] == [True, True, False, False]
    assert MSE_SCALE.is_solved(0.0) is None
    assert ScoreScale(ACCURACY, baseline=0.25, solved_at=0.9).is_solved(float(np.float32(0.9)))  # 0.89999998
