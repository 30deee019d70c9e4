"""Checkpoints saved before training, and Lightning's tuners, leave the record whole."""

import importlib

import pytest
import torch

from gradclip import ClipActivations, ClipGradients, GradientMonitor, HiddenStateMonitor, ParameterEMA
from tests.support.small_trainings import ONE_EPOCH, Training, batches, fit, make, weights


class Tunable(Training):
    def __init__(self, lr=0.01, batch_size=2):
        super().__init__()
        self.lr, self.batch_size = lr, batch_size

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def train_dataloader(self):
        return batches(8, self.batch_size)

    def val_dataloader(self):
        return batches(2, self.batch_size)

    def validation_step(self, batch, batch_idx):
        self.log("validation", self.training_step(batch, batch_idx))


def callbacks():
    return [GradientMonitor(), HiddenStateMonitor(), ClipActivations(), ClipGradients(ParameterEMA())]


def trainer_of(lightning, *others, **settings):
    return lightning.Trainer(**ONE_EPOCH | settings, callbacks=[*callbacks(), *others])


def record_of(trainer):
    return next(callback.record for callback in trainer.callbacks if isinstance(callback, GradientMonitor))


@pytest.mark.parametrize("tune", ["lr_find", "scale_batch_size"])
def test_a_tuner_before_the_training_leaves_the_record_whole(lightning, tune, tmp_path):
    trainer, module = trainer_of(lightning, default_root_dir=tmp_path), make(lightning, Tunable)
    settings = {"num_training": 4} if tune == "lr_find" else {"max_trials": 2, "steps_per_trial": 1}
    tuner = importlib.import_module(f"{lightning.__name__}.tuner").Tuner(trainer)
    getattr(tuner, tune)(module, **settings)
    trainer.fit(module)
    assert record_of(trainer).step.tolist() == [*range(1, trainer.global_step + 1)]
    assert record_of(trainer).norm.all()


@pytest.mark.parametrize("tune", ["LearningRateFinder", "BatchSizeFinder"])
def test_a_tuner_within_the_training_leaves_the_record_whole(lightning, tune, tmp_path):
    settings = {"num_training_steps": 4} if tune == "LearningRateFinder" else {"max_trials": 2, "steps_per_trial": 1}
    tuner = getattr(importlib.import_module(f"{lightning.__name__}.callbacks"), tune)(**settings)
    trainer, module = trainer_of(lightning, tuner, default_root_dir=tmp_path), make(lightning, Tunable)
    trainer.fit(module)
    assert record_of(trainer).step.tolist() == [*range(1, trainer.global_step + 1)]


def test_a_later_learning_rate_search_does_not_change_the_record(lightning, tmp_path):
    finder = importlib.import_module(f"{lightning.__name__}.callbacks").LearningRateFinder

    class EachEpoch(finder):
        def on_fit_start(self, *arguments):
            return

        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                self.lr_find(trainer, pl_module)

    trainer = trainer_of(lightning, EachEpoch(num_training_steps=3), default_root_dir=tmp_path, max_epochs=2)
    trainer.fit(make(lightning, Tunable))
    assert record_of(trainer).step.tolist() == [*range(1, 17)]
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    done = trainer_of(lightning, max_epochs=2)
    done.fit(make(lightning, Tunable), ckpt_path=tmp_path / "last.ckpt")  # training is already complete
    assert record_of(done).step.tolist() == [*range(1, 17)]


def test_a_checkpoint_saved_before_any_training_can_be_resumed(lightning, tmp_path):
    trainer, module = trainer_of(lightning), make(lightning, Tunable)
    trainer.validate(module, verbose=False)
    trainer.save_checkpoint(tmp_path / "untrained.ckpt")
    resumed = trainer_of(lightning)
    resumed.fit(module, ckpt_path=tmp_path / "untrained.ckpt")
    assert record_of(resumed).step.tolist() == [*range(1, 9)]


def test_a_checkpoint_that_was_only_evaluated_is_not_resumed(lightning, tmp_path):
    trainer, module = trainer_of(lightning), make(lightning, Tunable)
    trainer.fit(module)
    trainer.save_checkpoint(tmp_path / "trained.ckpt")
    trainer.validate(module, ckpt_path=tmp_path / "trained.ckpt", verbose=False)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module)
    assert record_of(trainer).step.tolist() == [*range(9, 17)]


def test_a_learning_rate_search_keeps_a_resumed_record(lightning, tmp_path):
    finder = importlib.import_module(f"{lightning.__name__}.callbacks").LearningRateFinder
    first = trainer_of(lightning)
    first.fit(make(lightning, Tunable))
    first.save_checkpoint(tmp_path / "first.ckpt")
    again = trainer_of(lightning, finder(num_training_steps=3), default_root_dir=tmp_path, max_epochs=2)
    again.fit(make(lightning, Tunable), ckpt_path=tmp_path / "first.ckpt")
    assert record_of(again).step.tolist()[:8] == [*range(1, 9)]


def test_scheduled_gradient_accumulation_is_recorded(lightning):
    callbacks = importlib.import_module(f"{lightning.__name__}.callbacks")
    module, plain, monitor = make(lightning), make(lightning), GradientMonitor()
    fit(lightning, module, monitor, callbacks.GradientAccumulationScheduler({0: 4, 1: 2}), max_epochs=2)
    fit(lightning, plain, callbacks.GradientAccumulationScheduler({0: 4, 1: 2}), max_epochs=2)
    assert monitor.record.batch.tolist() == [3, 7, 1, 3, 5, 7]
    assert all(map(torch.equal, weights(plain), weights(module)))
