"""A second training run with the same callbacks starts from scratch unless it resumes a checkpoint."""

import pytest
import torch
from torch import nn

from gradclip import (
    Auto,
    Chain,
    ClipGradients,
    GradientMonitor,
    HiddenStateMonitor,
    ParameterEMA,
    Scheduled,
    Skip,
    ZScore,
)
from tests.support.clipping import Shrinking
from tests.support.small_trainings import Training, fit, make, weights


class Deeper(Training):
    def __init__(self):
        super().__init__()
        self.middle = nn.Linear(3, 3)

    def training_step(self, batch, batch_idx):
        return super().training_step((self.middle(batch[0]), batch[1]), batch_idx)


CLIPPERS = [
    ParameterEMA(warmup=2, warmup_norm=0.1),
    ZScore(warmup=2),
    Auto(),
    Skip(0.1),
    Scheduled(ParameterEMA(warmup=2), end=0.1, steps=5),
    Shrinking(),
]


@pytest.mark.parametrize("clipper", CLIPPERS, ids=lambda clipper: type(clipper).__name__)
def test_clipping_starts_from_scratch(lightning, clipper):
    clip, first, fresh = ClipGradients(clipper), make(lightning), make(lightning)
    fit(lightning, make(lightning), clip)
    fit(lightning, first, clip)
    fit(lightning, fresh, ClipGradients(clipper))
    assert all(map(torch.equal, weights(first), weights(fresh)))


@pytest.mark.parametrize("clipper", CLIPPERS, ids=lambda clipper: type(clipper).__name__)
def test_the_clipper_state_is_that_of_the_new_network(lightning, clipper):
    clip = ClipGradients(clipper)
    fit(lightning, make(lightning), clip)
    fit(lightning, make(lightning, Deeper), clip)
    assert clip.state.keys() == clipper.init(dict(make(lightning, Deeper).named_parameters())).keys()


@pytest.mark.parametrize("clipper", CLIPPERS, ids=lambda clipper: type(clipper).__name__)
def test_a_resumed_training_continues_the_clipper_state(lightning, clipper, tmp_path):
    whole, part, rest = make(lightning), make(lightning), make(lightning)
    fit(lightning, whole, ClipGradients(clipper), max_epochs=2)
    clip = ClipGradients(clipper)
    fit(lightning, part, clip).save_checkpoint(tmp_path / "half.ckpt")
    fit(lightning, make(lightning), clip)  # another training run in between
    fit(lightning, rest, clip, max_epochs=2, ckpt_path=tmp_path / "half.ckpt")
    assert all(map(torch.equal, weights(whole), weights(rest)))


class WithAdam(Training):
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Switching(Training):
    """A training run that continues with another optimizer after four steps."""

    def on_train_batch_start(self, batch, batch_idx):
        if self.global_step >= 4 and isinstance(self.optimizers().optimizer, torch.optim.SGD):
            self.trainer.strategy.optimizers = [WithAdam.configure_optimizers(self)]


def test_a_checkpoint_saved_after_the_optimizer_was_replaced_continues_the_clipper_state(lightning, tmp_path):
    clip = ClipGradients(ZScore(warmup=2))
    fit(lightning, make(lightning, Switching), clip).save_checkpoint(tmp_path / "half.ckpt")
    fit(lightning, make(lightning, WithAdam), clip, max_epochs=2, ckpt_path=tmp_path / "half.ckpt")
    assert clip.state["seen"] == 4 + 8


def test_an_optimizer_that_replaces_another_after_a_resume_continues_its_record_and_state(lightning, tmp_path):
    monitor, clip = GradientMonitor(), ClipGradients(ZScore(warmup=2))
    fit(lightning, make(lightning, Switching), monitor, clip).save_checkpoint(tmp_path / "half.ckpt")
    fit(lightning, make(lightning, Switching), monitor, clip, max_epochs=2, ckpt_path=tmp_path / "half.ckpt")
    assert [*monitor.records["SGD"].step, *monitor.records["Adam"].step] == [*range(1, 17)]
    assert [state["seen"] for state in clip.states.values()] == [4, 12]


@pytest.mark.parametrize(
    ("saving", "resuming"),
    [(Auto(), ZScore(warmup=2)), (Auto(history=3), Auto()), (Chain(Auto()), Chain(ZScore(warmup=2)))],
    ids=repr,
)
def test_a_clipper_does_not_continue_the_state_of_another(lightning, saving, resuming, tmp_path):
    fit(lightning, make(lightning), ClipGradients(saving)).save_checkpoint(tmp_path / "half.ckpt")
    clip = ClipGradients(resuming)
    with pytest.warns(UserWarning, match=r"^clipper: got a saved state of .+ that does not fit .+, which starts"):
        fit(lightning, make(lightning), clip, max_epochs=2, ckpt_path=tmp_path / "half.ckpt")
    fresh = ClipGradients(resuming)
    fit(lightning, make(lightning), fresh)
    assert clip.state.keys() == fresh.state.keys()
    seen = {key for key in fresh.state if key.endswith("seen")}
    assert all(clip.state[key] == fresh.state[key] for key in seen)


def test_resumed_records_of_gradients_and_hidden_states_continue(lightning, tmp_path):
    class Recurrent(Training):
        def __init__(self):
            super().__init__()
            self.recurrent = nn.GRU(3, 3, batch_first=True)

        def training_step(self, batch, batch_idx):
            states, _ = self.recurrent(input=batch[0][:, None].expand(-1, 5, -1))
            return super().training_step((states[:, -1], batch[1]), batch_idx)

    monitors = GradientMonitor(), HiddenStateMonitor(snapshots=100)
    fit(lightning, make(lightning, Recurrent), *monitors).save_checkpoint(tmp_path / "half.ckpt")
    fit(lightning, make(lightning, Recurrent), *monitors, max_epochs=2, ckpt_path=tmp_path / "half.ckpt")
    assert [monitor.record.step.tolist() for monitor in monitors] == [[*range(1, 17)]] * 2
    fit(lightning, make(lightning, Recurrent), *monitors)
    assert [monitor.record.step.tolist() for monitor in monitors] == [[*range(1, 9)]] * 2
