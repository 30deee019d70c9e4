"""A resumed run draws the random numbers of an uninterrupted one."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch import nn

from gradclip import Regressor, TabularData
from gradclip.callbacks.random_state import RandomState
from gradclip.data.sources import regression
from gradclip.errors import TrainerError
from gradclip.models.optimization import optimizer_factory
from tests.support.trainers import QUIET

GENERATORS = {
    "Python": random.random,
    "NumPy": lambda: float(np.random.rand()),
    "torch": lambda: float(torch.rand(())),
}


class Draws(Callback):
    """A callback that draws a random number after each batch."""

    def __init__(self, draw):
        self.draw, self.drawn = draw, []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.drawn.append(self.draw())


def seed(number):
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def fit(epochs, *callbacks, checkpoint=None):
    """Train a network with dropout, from the same initial weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(20, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    module = Regressor(network, optimizer=optimizer_factory("sgd", lr=1e-3))
    trainer = Trainer(**QUIET, max_epochs=epochs, callbacks=list(callbacks))
    trainer.fit(module, TabularData(regression(), batch_size=125), ckpt_path=checkpoint, weights_only=True)
    return trainer, network.state_dict()


def resume_after_one_epoch(folder: Path, callbacks):
    """Train one epoch, seed anew, and resume from the checkpoint for the second epoch."""
    seed(1)
    trainer, _ = fit(1, *callbacks())
    trainer.save_checkpoint(folder / "half.ckpt")
    seed(2)
    resumed = callbacks()
    _, weights = fit(2, *resumed, checkpoint=folder / "half.ckpt")
    return resumed, weights


def test_resumed_training_draws_the_same_dropout_as_uninterrupted_training(tmp_path):
    seed(1)
    _, whole = fit(2, RandomState())
    _, resumed = resume_after_one_epoch(tmp_path, lambda: [RandomState()])
    _, without = resume_after_one_epoch(tmp_path, list)
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)
    assert not torch.equal(without["0.weight"], whole["0.weight"])


@pytest.mark.parametrize("name", GENERATORS)
def test_each_generator_continues_from_its_state_in_the_checkpoint(name, tmp_path):
    seed(1)
    whole = Draws(GENERATORS[name])
    fit(2, RandomState(), whole)
    (_, resumed), _ = resume_after_one_epoch(tmp_path, lambda: [RandomState(), Draws(GENERATORS[name])])
    assert resumed.drawn == whole.drawn[4:]
    assert len(resumed.drawn) == 4


def test_states_are_restored_only_once(tmp_path):
    (state, _), _ = resume_after_one_epoch(tmp_path, lambda: [RandomState(), Draws(random.random)])
    seed(3)
    expected = [random.random() for _ in range(4)]
    seed(3)
    draws = Draws(random.random)
    fit(1, state, draws)
    assert draws.drawn == expected


def test_a_different_number_of_gpus_is_refused():
    gpus = torch.cuda.device_count()
    callback = RandomState()
    state = callback.state_dict() | {"cuda": [torch.get_rng_state()] * (gpus + 1)}
    callback.load_state_dict(state)
    with pytest.raises(TrainerError) as caught:
        fit(1, callback)
    assert str(caught.value) == f"resume: got {gpus} GPUs; must be {gpus + 1}, as when the checkpoint was saved"
