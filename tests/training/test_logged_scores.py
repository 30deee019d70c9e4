"""Scores that a user-defined module logs."""

from types import SimpleNamespace

import pytest
import torch

from gradclip import keys
from gradclip.training.logged_scores import LoggedScores


class Strategy:
    """A process group that accepts only tensors on its own device, as NCCL does; here the meta device."""

    root_device = torch.device("meta")

    def reduce(self, tensor, reduce_op):
        assert tensor.device == self.root_device
        return torch.tensor(2.0)


@pytest.mark.parametrize("has_loss", [True, False])
def test_the_mean_loss_is_reduced_on_the_device_of_the_process_group(has_loss):
    scores, batch = LoggedScores(None, "min"), {"loss": torch.tensor(3.0)}
    trainer = SimpleNamespace(
        strategy=Strategy(),
        callback_metrics={},
        loggers=[],
        should_stop=False,
        current_epoch=0,
        accumulate_grad_batches=1,
    )
    if has_loss:
        scores.on_train_batch_end(trainer, None, batch, None, 0)
    scores.on_train_epoch_end(trainer, None)
    assert scores.epochs == [{keys.LOSS_TRAIN: 2.0}]
