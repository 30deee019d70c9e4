"""After any end of training runs for advice, the parent run is closed and signal handlers are restored."""

import signal
from unittest.mock import Mock

import pytest

from gradclip import keys
from gradclip.advise import training
from gradclip.advise.training import train_settings
from gradclip.config.composition import compose_config
from gradclip.errors import DataError, Interrupted
from gradclip.sweep.stopping import listening, stopped_by


@pytest.mark.parametrize(
    ("error", "raised", "status"),
    [(Interrupted(signal.SIGINT), SystemExit(130), "KILLED"), (DataError("data.path: gone"),) * 2 + ("FAILED",)],
)
def test_the_parent_run_is_closed_after_any_end_of_an_unstacked_training(tmp_path, monkeypatch, error, raised, status):
    parent, end, train = Mock(), Mock(), Mock(side_effect=error)
    monkeypatch.setattr(training, "find_parent", Mock(return_value=parent))
    monkeypatch.setattr(training, "end_parent", end)
    monkeypatch.setattr(training, "train_stacked", Mock(side_effect=lambda jobs, *_: jobs))
    monkeypatch.setattr(training, "train", train)
    with pytest.raises(type(raised)) as caught:
        train_settings([["clip=norm"]], range(2), compose_config([]).tracking, tmp_path / "probe", keys.PROBE)
    assert str(caught.value) == str(raised)
    assert train.call_count == 1
    end.assert_called_once_with(parent, status)


def test_signal_handlers_are_restored_after_the_jobs(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with listening(tmp_path):
        signal.raise_signal(signal.SIGTERM)
    assert stopped_by(tmp_path) == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
