"""A run that is stopped and resumed ends like one that was not, and stops only between steps."""

import errno
import logging
import math
import signal
import time

import pytest
import torch
from pytorch_lightning import Callback, Trainer

from gradclip import MLP, Regressor, TabularData
from gradclip.callbacks import checkpoints as checkpoints_module
from gradclip.callbacks.checkpoints import Checkpoints
from gradclip.callbacks.interruption import Interruption
from gradclip.callbacks.random_state import RandomState
from gradclip.data.sources import regression
from gradclip.errors import Interrupted
from gradclip.models.optimization import optimizer_factory, schedule_factory
from gradclip.training.own import as_checkpoint
from tests.support import own
from tests.support.trainers import QUIET, Points

SETTINGS = QUIET | {"max_epochs": 2, "enable_checkpointing": True}
SCHEDULES = {
    "constant": None,
    "warmup_cosine": schedule_factory("warmup_cosine", warmup_fraction=0.25, final_fraction=0.0),
}


@pytest.fixture(autouse=True)
def _handlers():
    """Handle Ctrl-C even if the tests run in the background, where it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def _saving_at_every_step(monkeypatch):
    """Remove the limit on saving time, so that an interval of 0 saves at every step."""
    monkeypatch.setattr(checkpoints_module, "MAX_SAVING_FRACTION", math.inf)


class Clock(Callback):
    """A clock that advances by one second per batch."""

    now = 0.0

    def monotonic(self):
        return self.now

    def on_train_batch_end(self, *arguments):
        self.now += 1.0


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(checkpoints_module, "time", clock)
    return clock


at_every_step = pytest.mark.usefixtures("_saving_at_every_step")


class ActionAt(Callback):
    """A callback that performs an action after one batch; epochs and batches are counted from 0."""

    def __init__(self, epoch, batch, action):
        self.when, self.action = (epoch, batch), action

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.when:
            self.action(trainer)


def signal_at(epoch, batch, number=signal.SIGTERM):
    return ActionAt(epoch, batch, lambda _: signal.raise_signal(number))


def fit(*callbacks, schedule="constant", checkpoint=None, **arguments):
    """Train for two epochs of four batches."""
    torch.manual_seed(0)
    optimizer = optimizer_factory("sgd", lr=1e-4, momentum=0.9)
    module = Regressor(MLP(20), optimizer=optimizer, schedule=SCHEDULES[schedule])
    trainer = Trainer(**SETTINGS | arguments, callbacks=list(callbacks))
    trainer.fit(module, TabularData(regression(), batch_size=125), ckpt_path=checkpoint, weights_only=True)
    return trainer


def saved_steps(folder):
    return sorted(int(path.stem.removeprefix("step-")) for path in folder.glob("step-*.ckpt"))


@at_every_step
@pytest.mark.parametrize(("accumulated", "steps"), [(1, [1, 2, 3, 4, 5, 6, 7]), (2, [1, 2, 3]), (3, [1, 2, 3])])
def test_checkpoints_are_saved_between_steps_and_between_epochs_but_not_at_the_end(accumulated, steps, tmp_path):
    fit(Checkpoints(tmp_path, 0.0, Interruption()), accumulate_grad_batches=accumulated)
    assert saved_steps(tmp_path) == steps
    for step in steps:
        assert torch.load(tmp_path / f"step-{step}.ckpt", weights_only=True)["global_step"] == step


@pytest.mark.parametrize("interval", [None, 3600.0])
def test_no_checkpoint_is_saved_before_the_interval_has_passed(interval, tmp_path):
    assert fit(Checkpoints(tmp_path, interval, Interruption())).global_step == 8
    assert saved_steps(tmp_path) == []


def test_a_checkpoint_is_saved_after_each_interval(clock, tmp_path):
    fit(clock, Checkpoints(tmp_path, 3.0, Interruption()))
    assert saved_steps(tmp_path) == [3, 6]


def test_saving_takes_at_most_a_small_fraction_of_the_time(clock, tmp_path):
    class Slow(Callback):
        def on_save_checkpoint(self, trainer, pl_module, checkpoint):
            clock.now += 0.15  # 5% of 3 seconds

    fit(clock, Slow(), Checkpoints(tmp_path, 0.0, Interruption()))
    assert saved_steps(tmp_path) == [1, 4, 7]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("interval", [None, 3600.0])
def test_a_signal_saves_a_checkpoint_after_the_step_and_stops_training(number, interval, tmp_path):
    with Interruption() as interruption, pytest.raises(Interrupted) as stop:
        fit(interruption, signal_at(1, 1, number), Checkpoints(tmp_path, interval, interruption))
    assert stop.value.signal == number
    assert saved_steps(tmp_path) == [6]


def test_a_signal_during_accumulation_stops_training_after_the_accumulated_step(tmp_path):
    with Interruption() as interruption, pytest.raises(Interrupted):
        fit(interruption, signal_at(0, 0), Checkpoints(tmp_path, None, interruption), accumulate_grad_batches=2)
    assert saved_steps(tmp_path) == [1]


def test_a_signal_at_the_last_batch_of_an_epoch_stops_training_after_the_epoch(tmp_path):
    with Interruption() as interruption, pytest.raises(Interrupted):
        fit(interruption, signal_at(0, 3), Checkpoints(tmp_path, None, interruption))
    assert saved_steps(tmp_path) == [4]


def test_training_completes_despite_a_signal_at_its_last_batch(tmp_path):
    with Interruption() as interruption:
        trainer = fit(interruption, signal_at(1, 3), Checkpoints(tmp_path, None, interruption))
        assert interruption.is_requested()
    assert trainer.global_step == 8
    assert saved_steps(tmp_path) == []


def test_a_stop_file_written_by_another_process_stops_training(tmp_path):
    file = tmp_path / "stop"
    interruption = Interruption(file)
    request = ActionAt(0, 1, lambda _: (file.write_text("2"), time.sleep(0.6)))  # longer than the polling interval
    with pytest.raises(Interrupted) as stop:
        fit(interruption, request, Checkpoints(tmp_path, None, interruption))
    assert stop.value.signal == signal.SIGINT
    assert saved_steps(tmp_path) == [2]


def test_a_signal_stops_training_without_saving_if_there_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainers = []
    with Interruption() as interruption, pytest.raises(Interrupted):
        fit(interruption, signal_at(0, 1), ActionAt(0, 1, trainers.append), Checkpoints(None, 0.0, interruption))
    assert trainers[0].global_step == 2
    assert list(tmp_path.iterdir()) == []


@at_every_step
def test_training_that_stops_by_itself_saves_no_checkpoint_at_its_end(tmp_path):
    def stop(trainer):
        trainer.should_stop = True

    fit(ActionAt(0, 1, stop), Checkpoints(tmp_path, 0.0, Interruption()))
    assert saved_steps(tmp_path) == [1]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("epoch", "batch"), [(0, 1), (0, 3), (1, 0)])
def test_resumed_training_ends_with_the_weights_of_uninterrupted_training(schedule, epoch, batch, tmp_path):
    whole = fit(Checkpoints(None, None, Interruption()), schedule=schedule)
    with Interruption() as interruption, pytest.raises(Interrupted):
        fit(interruption, signal_at(epoch, batch), Checkpoints(tmp_path, None, interruption), schedule=schedule)
    (path,) = tmp_path.iterdir()
    resumed = fit(Checkpoints(None, None, Interruption()), schedule=schedule, checkpoint=path)
    assert resumed.global_step == 8
    ours, theirs = resumed.lightning_module.state_dict(), whole.lightning_module.state_dict()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@at_every_step
def test_loggers_are_saved_before_on_saved_is_called(tmp_path):
    class Saving(Points):
        def save(self):
            events.append("logger")

    events = []
    checkpoints = Checkpoints(tmp_path, 0.0, Interruption())
    checkpoints.on_saved = lambda path: events.append(path.name if path.exists() else "no file")
    fit(checkpoints, logger=Saving(), max_epochs=1)
    assert [event for event in events if event != "logger"] == ["step-1.ckpt", "step-2.ckpt", "step-3.ckpt"]
    assert all(events[index - 1] == "logger" for index, event in enumerate(events) if event != "logger")


@at_every_step
def test_training_continues_if_a_checkpoint_cannot_be_written(tmp_path, caplog):
    (tmp_path / "folder").write_text("a file")
    saved = []
    checkpoints = Checkpoints(tmp_path / "folder", 0.0, Interruption())
    checkpoints.on_saved = saved.append
    with caplog.at_level(logging.ERROR):
        assert fit(checkpoints).global_step == 8
    assert saved == []
    messages = [record.getMessage() for record in caplog.records if record.name == checkpoints_module.__name__]
    assert len(messages) == 1
    assert messages[0].startswith(f"{tmp_path}/folder/step-1.ckpt: the checkpoint could not be written: ")
    assert messages[0].endswith("; training continues")


@at_every_step
def test_every_time_the_disk_becomes_full_is_reported_and_leaves_no_incomplete_file(tmp_path, caplog, monkeypatch):
    save = Trainer.save_checkpoint

    def save_if_space_is_left(trainer, path):
        if trainer.global_step in {2, 3, 6}:
            path.touch()
            raise OSError(errno.ENOSPC, "No space left on device")
        save(trainer, path)

    monkeypatch.setattr(Trainer, "save_checkpoint", save_if_space_is_left)
    with caplog.at_level(logging.ERROR):
        fit(Checkpoints(tmp_path, 0.0, Interruption()))
    assert saved_steps(tmp_path) == [1, 4, 5, 7]
    assert [f"step-{step}.ckpt" in caplog.text for step in (2, 3, 6)] == [True, False, True]


@at_every_step
@pytest.mark.parametrize("lightning", ["pytorch_lightning", "lightning.pytorch"])
def test_training_on_the_users_own_shuffled_batches_is_resumed_between_epochs(lightning, tmp_path):
    package = pytest.importorskip(lightning)
    name = {"pytorch_lightning": "Old", "lightning.pytorch": "New"}[lightning]

    def weights(checkpoint=None):
        package.seed_everything(5, verbose=False)
        module = getattr(own, f"{name}Training")()
        saving = as_checkpoint(Checkpoints, package)(tmp_path / name, 0.0, Interruption())
        settings = SETTINGS | {"limit_val_batches": 1.0, "max_epochs": 5}
        trainer = package.Trainer(callbacks=[RandomState(), saving], **settings)
        trainer.fit(module, datamodule=getattr(own, f"{name}Batches")(), ckpt_path=checkpoint, weights_only=True)
        return torch.cat([one.flatten() for one in module.parameters()])

    whole = weights()
    assert saved_steps(tmp_path / name) == [6, 12, 18, 24]  # six batches per epoch; no checkpoint within an epoch
    assert torch.equal(weights(tmp_path / name / "step-18.ckpt"), whole)
