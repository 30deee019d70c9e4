"""`HiddenStateMonitor` records autograd's derivatives at each hidden state without changing the training."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from torch import nn

from gradclip import (
    LSTM,
    MLP,
    RNN,
    Classifier,
    ClipActivations,
    HiddenStateMonitor,
    Regressor,
    SequenceData,
    TabularData,
)
from gradclip.data.sources import regression
from gradclip.models.optimization import optimizer_factory
from tests.support.trainers import QUIET, Failing


def make_network(kind=RNN, **settings):
    torch.manual_seed(0)
    return kind(6, 4, hidden_size=8, **settings)


def make_data(steps=6):
    return SequenceData("temporal_order", length=10, batch_size=5, steps_per_epoch=steps)


def fit(network, *callbacks, steps=6, **arguments):
    module = Classifier(network, optimizer=optimizer_factory("sgd", lr=0.5))
    Trainer(**QUIET | {"max_epochs": 1, "callbacks": list(callbacks)} | arguments).fit(module, make_data(steps))
    return module


def norms_by_autograd(network):
    """Return the gradient norm at each state of the top layer, by autograd on a sequence split at that state."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    rows = []
    for inputs, target in make_data().train_dataloader():
        norms = []
        for step in range(1, 11):
            _, state = network.recurrent(inputs[:, :step])
            state = state.detach().requires_grad_()
            end = state[-1] if step == 10 else network.recurrent(inputs[:, step:], state)[0][:, -1]
            loss = nn.functional.cross_entropy(network.output(end), target)
            norms.append(torch.autograd.grad(loss, state)[0].norm().item())
        rows.append(norms)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(inputs), target).backward()
        optimizer.step()
    return np.array(rows)


def test_norms_equal_those_of_autograd():
    monitor = HiddenStateMonitor()
    fit(make_network(), monitor)
    (norms,) = monitor.record.norms.values()
    np.testing.assert_allclose(norms, norms_by_autograd(make_network()), rtol=1e-4)
    assert monitor.record.step.tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_training_is_bitwise_identical_with_and_without_the_monitor(nonlinearity):
    networks = [make_network(nonlinearity=nonlinearity, layers=2, dropout=0.5) for _ in range(2)]
    for network, callbacks in zip(networks, ([], [HiddenStateMonitor()]), strict=True):
        torch.manual_seed(1)
        fit(network, *callbacks)
    plain, monitored = (list(network.parameters()) for network in networks)
    assert all(torch.equal(one, other) for one, other in zip(plain, monitored, strict=True))


def test_an_lstm_is_recorded_layer_by_layer_and_trains_the_same_up_to_rounding():
    monitor, plain, monitored = HiddenStateMonitor(), make_network(LSTM, layers=2), make_network(LSTM, layers=2)
    fit(plain)
    fit(monitored, monitor)
    assert list(monitor.record.norms) == ["network.recurrent, layer 1", "network.recurrent, layer 2"]
    assert all(np.all(norms > 0) for norms in monitor.record.norms.values())
    torch.testing.assert_close(list(monitored.parameters()), list(plain.parameters()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("steps", "expected"), [(3, [1, 2, 3]), (4, [1, 3]), (8, [1, 5]), (11, [1, 5, 9]), (20, [1, 9, 17])]
)
def test_snapshots_thin_out_and_cover_the_run(steps, expected):
    monitor = HiddenStateMonitor(snapshots=4)
    fit(make_network(), monitor, steps=steps)
    assert monitor.record.step.tolist() == expected


def test_time_steps_before_the_last_window_have_no_gradient():
    monitor = HiddenStateMonitor()
    fit(make_network(truncation=4), monitor)  # windows of time steps 1 to 4, 5 to 8 and 9 to 10
    (norms,) = monitor.record.norms.values()
    assert norms.shape == (6, 10)
    assert (norms[:, :8] == 0).all()
    assert (norms[:, 8:] > 0).all()


def test_only_the_first_of_the_accumulated_batches_is_recorded():
    monitor = HiddenStateMonitor()
    fit(make_network(), monitor, accumulate_grad_batches=2)
    assert monitor.record.step.tolist() == [1, 2, 3]


def test_derivatives_are_measured_before_activation_clipping():
    plain, clipped = HiddenStateMonitor(), HiddenStateMonitor()
    fit(make_network(), plain, max_steps=1)
    fit(make_network(), clipped, ClipActivations(1e-9, 1e9), max_steps=1)
    (before,), (after,) = plain.record.norms.values(), clipped.record.norms.values()
    assert after[0, -1] == before[0, -1] > 1e-6  # at the last time step, straight from the output
    assert after[0, 0] < 1e-7  # reduced by clipping at every later time step


def test_a_network_without_recurrent_layers_has_no_record():
    monitor = HiddenStateMonitor()
    Trainer(**QUIET, max_epochs=1, callbacks=[monitor]).fit(Regressor(MLP(20)), TabularData(regression()))
    assert monitor.record is None


def test_layers_that_cannot_be_unrolled_are_not_recorded():
    class Bidirectional(nn.Module):
        def __init__(self):
            super().__init__()
            self.recurrent, self.output = nn.GRU(6, 4, batch_first=True, bidirectional=True), nn.Linear(8, 4)

        def forward(self, inputs):
            return self.output(self.recurrent(inputs)[0][:, -1])

    monitor = HiddenStateMonitor()
    fit(Bidirectional(), monitor)
    assert monitor.record is None


@pytest.mark.parametrize(
    ("others", "ending"),
    [([], nullcontext()), ([Failing()], pytest.raises(RuntimeError, match="stop"))],
    ids=["training completes", "training fails"],
)
def test_layers_are_restored_after_training(others, ending):
    network = make_network()
    with ending:
        fit(network, *others, HiddenStateMonitor())
    assert "forward" not in vars(network.recurrent)


def test_the_frame_has_a_row_for_each_step_layer_and_time_step():
    monitor = HiddenStateMonitor()
    fit(make_network(layers=2), monitor, steps=3)
    frame = monitor.record.to_frame()
    assert list(frame.columns) == ["step", "layer", "time", "hidden/grad_norm"]
    assert len(frame) == 3 * 2 * 10
    cell = frame[(frame.step == 2) & (frame.layer == "network.recurrent, layer 2") & (frame.time == 7)]
    assert cell["hidden/grad_norm"].item() == monitor.record.norms["network.recurrent, layer 2"][1, 6]
