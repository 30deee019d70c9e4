import pytest

from gradclip import keys
from gradclip.compare.metric import Metric, choose_metric
from gradclip.errors import ConfigError
from gradclip.tracking.stored_runs import StoredRun


def run(metrics, **tags):
    return StoredRun("1", "run", None, "FINISHED", 1.0, {}, metrics, {keys.OUTCOME: "finished", **tags})


@pytest.mark.parametrize(("mode", "sign"), [("min", 1), ("max", -1)])
def test_a_metric_that_a_module_logs_is_compared_in_its_direction(mode, sign):
    metrics = {"final/val_f1": 0.5, "final/loss/train": 2.0, "loss/train": 2.0, "val_f1": 0.5, "train_acc": 0.7}
    runs = [run(metrics, score="val_f1", score_mode=mode)]
    for name in (None, "val_f1", "final/val_f1"):
        assert choose_metric(runs, name) == Metric(name or "final/val_f1", sign, "val_f1")
    assert choose_metric(runs, "loss/train") == Metric("loss/train", 1, "loss/train")
    assert choose_metric(runs, "train_acc") == Metric("train_acc", 1, "")


def test_runs_of_different_scores_are_not_compared():
    runs = [run({"final/val_loss": 1.0}, score="val_loss", score_mode="min"), run({"final/mse_test": 1.0})]
    with pytest.raises(ConfigError, match="metric: the runs have final/mse_test and final/val_loss; give metric="):
        choose_metric(runs, None)
