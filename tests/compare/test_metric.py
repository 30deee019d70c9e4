"""The metric of the validation rows is compared if there is one, and a choice on test rows is reported."""

from math import inf, nan

import pytest

from gradclip import keys
from gradclip.compare.metric import Metric, choose_metric
from gradclip.errors import ConfigError
from gradclip.scores import ACCURACY, MSE
from gradclip.tracking.stored_runs import StoredRun


def run(metrics, **tags):
    return StoredRun("1", "run", None, "FINISHED", 1.0, {}, metrics, {keys.OUTCOME: "finished", **tags})


@pytest.mark.parametrize(("mode", "sign"), [("min", 1), ("max", -1)])
def test_a_metric_that_a_module_logs_is_compared_in_its_direction(mode, sign):
    metrics = {"final/val_f1": 0.5, "final/loss/train": 2.0, "loss/train": 2.0, "val_f1": 0.5, "train_acc": 0.7}
    runs = [run(metrics, score="val_f1", score_mode=mode)]
    assert choose_metric(runs, split="validation") == choose_metric(runs)
    for name in (None, "val_f1", "final/val_f1"):
        assert choose_metric(runs, name) == Metric(name or "final/val_f1", sign, "val_f1")
    assert choose_metric(runs, "loss/train") == Metric("loss/train", 1, "loss/train")
    assert choose_metric(runs, "train_acc") == Metric("train_acc", 1, "")


def test_runs_with_different_scores_are_not_compared():
    runs = [run({"final/val_loss": 1.0}, score="val_loss", score_mode="min"), run({"final/mse_test": 1.0})]
    with pytest.raises(ConfigError, match="metric: the runs have final/mse_test and final/val_loss; set metric="):
        choose_metric(runs, None)


TRAIN, VALIDATION, TEST = MSE.final("train"), MSE.final("validation"), MSE.final("test")
OLDER = {TRAIN: 1.0, TEST: 3.0, keys.GRAD_NORM_P90: 5.0}
WITH_VALIDATION = OLDER | {VALIDATION: 2.0}
SOME = f"only 1 of 2 runs have {VALIDATION}"


def test_validation_rows_choose_and_test_rows_are_reported() -> None:
    runs = [run(WITH_VALIDATION)] * 2
    assert choose_metric(runs) == Metric(VALIDATION, 1, MSE.by_epoch("validation"), reported=TEST)
    assert choose_metric(runs, split="train") == Metric(TRAIN, 1, MSE.by_epoch("train"), reported=TEST)
    accuracy = {ACCURACY.final("validation"): 0.5, ACCURACY.final("test"): 0.4}
    assert choose_metric([run(accuracy)]) == Metric(
        ACCURACY.final("validation"),
        -1,
        ACCURACY.by_epoch("validation"),
        ACCURACY.final("test"),
        is_fraction=True,
        perfect=1.0,
    )


def test_no_test_score_is_reported_unless_all_runs_have_one() -> None:
    without = {TRAIN: 1.0, VALIDATION: 2.0}
    for runs in ([run(without)] * 2, [run(without), run(WITH_VALIDATION)]):
        assert choose_metric(runs) == Metric(VALIDATION, 1, MSE.by_epoch("validation"))


def test_the_error_of_an_accuracy_is_the_fraction_of_wrong_predictions() -> None:
    metric = choose_metric([run({ACCURACY.final("test"): 0.75})])
    runs = [run({ACCURACY.final("test"): value}) for value in (0.75, 1.0, nan)]
    assert metric.errors(runs).tolist() == [0.25, 0, inf]
    assert [metric.to_value(error) for error in (0.25, 0.0)] == [0.75, 1.0]


def test_no_test_score_stands_beside_that_of_the_best_epoch() -> None:
    best, by_epoch = MSE.best("validation"), MSE.by_epoch("validation")
    assert choose_metric([run(WITH_VALIDATION | {best: 1.5})], best) == Metric(best, 1, by_epoch)


@pytest.mark.parametrize("monitor", [MSE.by_epoch("test"), MSE.by_epoch("validation")])
def test_a_callback_that_monitors_test_rows_is_reported(monitor: str) -> None:
    monitored = run(WITH_VALIDATION)
    monitored.parameters["callbacks.early_stopping.monitor"] = monitor
    runs = [run(WITH_VALIDATION), monitored]
    caveat = choose_metric(runs).caveat
    assert caveat.startswith("The test rows decided when some runs ended") is (monitor == MSE.by_epoch("test"))
    assert choose_metric(runs, split="test").caveat.startswith("Chosen on the test rows: split=test")


@pytest.mark.parametrize(
    ("metrics", "settings", "why"),
    [
        ([OLDER, OLDER], {}, "this data set has no validation rows"),
        ([WITH_VALIDATION, OLDER, OLDER], {}, "only 1 of 3 runs have validation rows"),
        ([WITH_VALIDATION], {"split": "test"}, "split=test selects them"),
        ([WITH_VALIDATION], {"name": TEST}, f"metric={TEST} selects them"),
        ([OLDER], {"split": "test", "name": TEST}, "this data set has no validation rows"),
    ],
)
def test_the_reason_is_reported_if_test_rows_choose(metrics, settings, why) -> None:
    found = choose_metric([run(one) for one in metrics], **settings)
    caveat = f"Chosen on the test rows: {why}, so the best looks better than it is."
    assert found == Metric(TEST, 1, MSE.by_epoch("test"), caveat=caveat)


@pytest.mark.parametrize(
    ("metrics", "settings", "message"),
    [
        ([OLDER], {"name": TEST, "split": "train"}, "split: got 'train'; final/mse_test is the score on the test rows"),
        (
            [OLDER],
            {"name": keys.GRAD_NORM_P90, "split": "test"},
            "split: got 'test'; metric=grad/norm_p90 is not a score",
        ),
        ([OLDER, OLDER], {"split": "validation"}, f"split: got 'validation'; no run has {VALIDATION}"),
        ([OLDER, WITH_VALIDATION], {"split": "validation"}, f"split: got 'validation'; {SOME}"),
        ([OLDER, WITH_VALIDATION], {"name": VALIDATION}, f"metric: got '{VALIDATION}'; {SOME}"),
    ],
)
def test_a_contradictory_or_missing_split_is_refused(metrics, settings, message) -> None:
    with pytest.raises(ConfigError) as raised:
        choose_metric([run(one) for one in metrics], **settings)
    assert str(raised.value) == message


def test_a_metric_of_a_module_is_not_on_test_rows() -> None:
    runs = [run({"final/val_loss": 1.0, "final/loss/train": 1.0}, score="val_loss", score_mode="min")]
    with pytest.raises(ConfigError, match="split: got 'test'; final/val_loss is the score on the validation rows"):
        choose_metric(runs, split="test")


def test_a_metric_that_a_module_logs_on_test_rows_is_reported_as_chosen_on_them() -> None:
    metrics = {"final/val_loss": 1.0, "final/loss/train": 1.0}
    runs = [run(metrics, score="val_loss", score_mode="min", score_split="test")]
    caveat = "Chosen on the test rows: this data set has no validation rows, so the best looks better than it is."
    assert choose_metric(runs) == choose_metric(runs, split="test")
    assert choose_metric(runs) == Metric("final/val_loss", 1, "val_loss", caveat=caveat)


@pytest.mark.parametrize("splits", [("validation", "test"), ("test", "validation")])
def test_a_metric_that_some_runs_logged_on_test_rows_is_reported_as_chosen_on_them(splits) -> None:
    metrics = {"final/val_loss": 1.0, "final/loss/train": 1.0}
    runs = [run(metrics, score="val_loss", score_mode="min", score_split=split) for split in splits]
    assert choose_metric(runs).caveat.startswith("Chosen on the test rows")


def test_a_module_may_log_one_of_our_scores() -> None:
    metrics = {"final/val_loss": 1.0, "final/loss/train": 1.0, "accuracy/train": 0.5, "mse/test": 2.0}
    runs = [run(metrics, score="val_loss", score_mode="min")]
    assert choose_metric(runs, "accuracy/train") == Metric(
        "accuracy/train", -1, "accuracy/train", is_fraction=True, perfect=1.0
    )
    assert choose_metric(runs, "mse/test") == Metric("mse/test", 1, "mse/test")
