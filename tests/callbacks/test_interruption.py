"""The first stop signal during training is only recorded; a second, or one outside training, stops at once."""

import signal
import threading
import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from pytorch_lightning import Callback, Trainer

from gradclip import MLP, Regressor, TabularData
from gradclip.callbacks import interruption as module
from gradclip.callbacks.interruption import Interruption
from gradclip.data.sources import regression
from gradclip.errors import STOP_SIGNALS, Interrupted
from tests.support.trainers import QUIET, Failing

every_signal = pytest.mark.parametrize("number", STOP_SIGNALS)


@pytest.fixture(autouse=True)
def handlers():
    """Install Python's default handlers even if the tests run in the background, where Ctrl-C is ignored."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    for number, handler in defaults.items():
        signal.signal(number, handler)
    yield defaults
    for number, handler in before.items():
        signal.signal(number, handler)


class Sending(Callback):
    """A callback that sends this process a signal after the given batches, counted from 0."""

    def __init__(self, number, *batches, pause=0.0):
        self.number, self.batches, self.pause, self.steps = number, batches, pause, 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps = trainer.global_step
        if batch_idx in self.batches:
            time.sleep(self.pause)
            signal.raise_signal(self.number)


def fit(*callbacks):
    """Train one epoch of 16 batches."""
    trainer = Trainer(**QUIET, max_epochs=1, callbacks=list(callbacks))
    trainer.fit(Regressor(MLP(20)), TabularData(regression()))
    return trainer


@every_signal
def test_the_first_signal_during_training_is_only_recorded(number):
    with Interruption() as interruption:
        assert not interruption.is_requested()
        trainer = fit(interruption, Sending(number, 3))
        assert trainer.global_step == 16
        assert interruption.is_requested()
        with pytest.raises(Interrupted) as stop:
            interruption.check()
    assert stop.value.signal == interruption.signal == number


@every_signal
def test_a_second_signal_during_training_stops_immediately(number, monkeypatch):
    monkeypatch.setattr(module, "SECOND_SIGNAL_AFTER", 0.1)
    sending = Sending(number, 3, 5, pause=0.15)
    with Interruption() as interruption, pytest.raises(Interrupted) as stop:
        fit(interruption, sending)
    assert stop.value.signal == number
    assert sending.steps == 6


def test_two_signals_at_nearly_the_same_time_count_as_one(monkeypatch):
    monkeypatch.setattr(module, "SECOND_SIGNAL_AFTER", 60.0)
    with Interruption() as interruption:
        assert fit(interruption, Sending(signal.SIGINT, 3, 4)).global_step == 16
    assert interruption.signal == signal.SIGINT


def test_a_repeated_signal_is_ignored_after_training(monkeypatch):
    monkeypatch.setattr(module, "SECOND_SIGNAL_AFTER", 60.0)
    with Interruption() as interruption:
        fit(interruption, Sending(signal.SIGINT, 3))
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)


@every_signal
def test_a_signal_outside_training_stops_immediately(number):
    interruption = Interruption()
    with interruption, pytest.raises(Interrupted) as stop:
        signal.raise_signal(number)
    assert stop.value.signal == interruption.signal == number


@pytest.mark.parametrize(
    ("others", "ending"),
    [([], nullcontext()), ([Failing()], pytest.raises(RuntimeError, match="stop"))],
    ids=["after training", "after an error in training"],
)
def test_a_signal_after_training_stops_immediately(others, ending):
    with Interruption() as interruption:
        with ending:
            fit(interruption, *others)
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)


def test_check_raises_nothing_if_no_stop_was_requested():
    with Interruption() as interruption:
        fit(interruption)
        interruption.check()
    assert interruption.signal is None


def test_handlers_are_installed_within_the_context_and_restored_after_it(handlers):
    with Interruption():
        assert all(signal.getsignal(number) != handler for number, handler in handlers.items())
    assert {number: signal.getsignal(number) for number in STOP_SIGNALS} == handlers


def test_no_handler_is_installed_outside_the_context(handlers):
    fit(Interruption())
    assert {number: signal.getsignal(number) for number in STOP_SIGNALS} == handlers


def test_a_signal_that_the_process_ignores_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interruption() as interruption:
        fit(interruption, Sending(signal.SIGINT, 3))
        signal.raise_signal(signal.SIGINT)
        assert not interruption.is_requested()
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_another_process_requests_a_stop_with_a_file(tmp_path, monkeypatch):
    clock = [1.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    interruption = Interruption(tmp_path / "stop")
    assert not interruption.is_requested()
    (tmp_path / "stop").write_text("15")
    assert not interruption.is_requested()  # the file is polled at intervals only
    clock[0] += 2 * module.POLL_INTERVAL
    assert interruption.is_requested()
    assert interruption.signal == signal.SIGTERM
    with pytest.raises(Interrupted):
        interruption.check()


def test_no_handler_is_installed_in_another_thread(handlers):
    found = []

    def run():
        with Interruption() as interruption:
            fit(interruption)
            found.append({number: signal.getsignal(number) for number in STOP_SIGNALS})

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [handlers]
