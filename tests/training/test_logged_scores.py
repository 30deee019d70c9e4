"""The score that a module logs is reduced over processes, or refused if it differs between them."""

from types import SimpleNamespace

import pytest
import torch

from gradclip import keys
from gradclip.errors import ConfigError
from gradclip.training.logged_scores import LoggedScores, choose_score


class Strategy:
    """A process group that accepts only tensors on its own device, as NCCL does; here the meta device.

    Args:
        first: value of the score in the first process.
    """

    root_device = torch.device("meta")

    def __init__(self, first):
        self.first = first

    def reduce(self, tensor, reduce_op):
        assert tensor.device == self.root_device
        return torch.tensor(2.0)

    def broadcast(self, value):
        return self.first

    def reduce_boolean_decision(self, decision):
        return decision


def end_first_epoch(scores, logged, first):
    trainer = SimpleNamespace(
        strategy=Strategy(first),
        callback_metrics=logged,
        loggers=[],
        should_stop=False,
        current_epoch=0,
        accumulate_grad_batches=1,
    )
    scores.on_train_epoch_end(trainer, None)


@pytest.mark.parametrize("has_loss", [True, False])
def test_the_mean_loss_is_reduced_on_the_device_of_the_process_group(has_loss):
    scores, batch = LoggedScores(None, "min"), {"loss": torch.tensor(3.0)}
    if has_loss:
        scores.on_train_batch_end(SimpleNamespace(accumulate_grad_batches=1), None, batch, None, 0)
    end_first_epoch(scores, {}, float("nan"))
    assert scores.epochs == [{keys.LOSS_TRAIN: 2.0}]


def test_a_score_that_differs_between_processes_is_refused():
    logged = {"val_loss": torch.tensor(1.0)}
    message = "metric: got 'val_loss'; it differs between processes, log it with sync_dist=True"
    with pytest.raises(ConfigError, match=f"^{message}$"):
        end_first_epoch(LoggedScores(None, "min"), logged, 3.0)
    scores = LoggedScores(None, "min")
    end_first_epoch(scores, logged, 1.0)
    assert scores.curves["validation"] == [1.0]


@pytest.mark.parametrize(
    ("logged", "example"),
    [
        (["train_loss", "val_accuracy", "val_f1"], "val_accuracy"),
        (["train_loss", "error", "share"], "error"),
        (["train_loss", "train_accuracy"], "train_loss"),
    ],
)
def test_a_metric_of_the_training_rows_is_the_last_to_be_suggested(logged, example):
    with pytest.raises(ConfigError, match=f": choose one, as in metric={example}$"):
        choose_score(None, logged)
