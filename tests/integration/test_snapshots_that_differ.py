"""Hidden states of sequences and layers that differ from batch to batch are recorded at their time steps."""

import numpy as np
import pytest
import torch
from torch import nn

from gradclip import HiddenStateMonitor
from tests.support.small_trainings import Training, fit, make, weights


class Lengths(Training):
    """A network with sequences of 5 to 12 steps."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.GRU(3, 3, batch_first=True), nn.LSTM(3, 3, batch_first=True)
        self.decoder = nn.GRU(3, 3)

    def encode(self, inputs, batch_idx):
        return self.first(input=inputs[:, None].expand(-1, 5 + batch_idx, -1))[0]

    def training_step(self, batch, batch_idx):
        return super().training_step((self.encode(batch[0], batch_idx)[:, -1], batch[1]), batch_idx)


class EveryOther(Lengths):
    """A network whose second layer runs in every other batch."""

    def encode(self, inputs, batch_idx):
        states, _ = self.first(inputs[:, None].expand(-1, 5, -1))
        return self.second(states)[0] if batch_idx % 2 else states


class Decoder(Lengths):
    """A network whose layer is called for one time step at a time, 3 or 4 times."""

    def encode(self, inputs, batch_idx):
        outputs, state = inputs[None], None
        for _ in range(3 + batch_idx % 2):
            outputs, state = self.decoder(outputs, hx=state)
        return outputs.transpose(0, 1)


class Detached(EveryOther):
    """A network whose first layer receives no gradient."""

    def encode(self, inputs, batch_idx):
        with torch.no_grad():
            states, _ = self.first(inputs[:, None].expand(-1, 5, -1))
        return self.second(states)[0]


def last_derivatives(training, lightning):
    """Return the norm of torch's derivative with respect to the last hidden state of each batch."""

    class Recording(training):
        def encode(self, inputs, batch_idx):
            states = super().encode(inputs, batch_idx)
            last = states[:, -1]
            last.register_hook(lambda derivative: self.norms.append(derivative.norm().item()))
            return last[:, None]

    module = make(lightning, Recording)
    module.norms = []
    fit(lightning, module)
    return module.norms


@pytest.mark.parametrize(
    ("training", "layer", "missing"),
    [
        (Lengths, "first, layer 1", [7, 6, 5, 4, 3, 2, 1, 0]),
        (EveryOther, "first, layer 1", [0] * 8),
        (EveryOther, "second, layer 1", [5, 0] * 4),
        (Decoder, "decoder, layer 1", [1, 0] * 4),
        (Detached, "second, layer 1", [0] * 8),
    ],
)
def test_norms_are_aligned_at_the_last_time_step_and_nan_where_a_step_is_missing(lightning, training, layer, missing):
    monitor = HiddenStateMonitor()
    fit(lightning, make(lightning, training), monitor)
    norms = monitor.record.norms[layer]
    assert np.isnan(norms).sum(axis=1).tolist() == missing
    assert (norms[~np.isnan(norms)] > 0).all()
    assert len(monitor.record.to_frame()) == sum(found.size for found in monitor.record.norms.values())
    if training is not EveryOther:
        np.testing.assert_allclose(norms[:, -1], last_derivatives(training, lightning), rtol=1e-4)


def test_a_layer_that_receives_no_gradient_has_zeros(lightning):
    monitor = HiddenStateMonitor()
    fit(lightning, make(lightning, Detached), monitor)
    assert not monitor.record.norms["first, layer 1"].any()


@pytest.mark.parametrize("training", [Lengths, EveryOther, Decoder])
def test_the_training_is_unchanged_up_to_rounding(lightning, training):
    watched, plain = make(lightning, training), make(lightning, training)
    fit(lightning, watched, HiddenStateMonitor())
    fit(lightning, plain)
    torch.testing.assert_close(weights(watched), weights(plain), rtol=1e-4, atol=1e-6)


def test_a_record_continues_after_a_checkpoint(lightning, tmp_path):
    monitor = HiddenStateMonitor(snapshots=100)
    fit(lightning, make(lightning, EveryOther), monitor, max_steps=7).save_checkpoint(tmp_path / "part.ckpt")
    fit(lightning, make(lightning, EveryOther), monitor, max_epochs=2, max_steps=8, ckpt_path=tmp_path / "part.ckpt")
    assert monitor.record.step.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert np.isnan(monitor.record.norms["second, layer 1"]).all(axis=1).tolist() == [True, False] * 4
