"""`ClipActivations` gives the gradients of clipped derivatives, at every time step of a recurrent layer."""

import math
from contextlib import nullcontext

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch import nn

from gradclip import MLP, RNN, Classifier, ClipActivations, Regressor, SequenceData, TabularData
from gradclip.data.sources import regression
from gradclip.errors import ClippingError
from tests.support.trainers import QUIET, Failing


class Gradients(Callback):
    """A callback that records the gradients of the last step."""

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.gradients = [parameter.grad.clone() for parameter in pl_module.parameters()]


def make_network():
    torch.manual_seed(0)
    return MLP(20)


def fit(network, clip, *others, **arguments):
    recorded = Gradients()
    data = TabularData(regression(), batch_size=100)
    Trainer(**QUIET | {"max_steps": 1} | arguments, callbacks=[clip, recorded, *others]).fit(Regressor(network), data)
    return recorded.gradients


def gradients_by_hand(network, hidden, output, batches=1):
    """Return the gradients of the tutorial's network, clipping each derivative during a hand-written backward pass."""
    data = TabularData(regression(), batch_size=100)
    totals = [torch.zeros_like(parameter) for parameter in network.parameters()]
    for rows in list(data.train_dataloader().sampler)[:batches]:
        inputs, target = (part[rows] for part in data.sets["train"].tensors)
        before = network[0](inputs)
        predicted = network[2](before.relu())
        at_output = (2 * (predicted - target) / len(rows) / batches).clamp(-output, output)
        at_hidden = ((at_output @ network[2].weight) * (before > 0)).clamp(-hidden, hidden)
        parts = [at_hidden.T @ inputs, at_hidden.sum(0), at_output.T @ before.relu(), at_output.sum(0)]
        totals = [total + part for total, part in zip(totals, parts, strict=True)]
    return totals


@pytest.mark.parametrize(("hidden", "output"), [(0.1, 1.0), (0.5, 1e9), (1e9, 0.5), (1e9, 1e9)])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_gradients_equal_those_of_clipped_derivatives(hidden, output, accumulated):
    network = make_network()
    expected = gradients_by_hand(network, hidden, output, accumulated)
    ours = fit(network, ClipActivations(hidden, output), accumulate_grad_batches=accumulated)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_clip_fraction_is_the_fraction_of_steps_with_a_clipped_derivative():
    never, always = ClipActivations(1e9, 1e9), ClipActivations(1e-9, 1e-9)
    assert math.isnan(never.clip_fraction)
    fit(make_network(), never, max_steps=3)
    fit(make_network(), always, max_steps=3)
    assert (never.clip_fraction, always.clip_fraction) == (0.0, 1.0)


def test_a_second_training_run_is_counted_anew_and_a_resumed_one_continues(tmp_path):
    clip, module, data = ClipActivations(1e-9, 1e-9), Regressor(make_network()), TabularData(regression())
    first = Trainer(**QUIET, max_steps=3, callbacks=[clip])
    first.fit(module, data)
    first.save_checkpoint(tmp_path / "three.ckpt")
    clip.value = clip.output_value = 1e9
    Trainer(**QUIET, max_steps=2, callbacks=[clip]).fit(module, data)
    assert clip.clip_fraction == 0.0
    Trainer(**QUIET, max_steps=4, callbacks=[clip]).fit(module, data, ckpt_path=tmp_path / "three.ckpt")
    assert clip.clip_fraction == 3 / 4


def test_only_layers_that_match_the_pattern_are_clipped():
    ours = fit(make_network(), ClipActivations(1e-6, 1e-6, layers="network.0"))
    expected = gradients_by_hand(make_network(), 1e-6, 1e9)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("argument", "value", "allowed"),
    [
        ("value", -1.0, "must be a number above 0"),
        ("output_value", "10", "must be a number above 0"),
        ("layers", None, "must be a name pattern, such as 'head.*'"),
    ],
)
def test_an_invalid_argument_is_refused(argument, value, allowed):
    with pytest.raises(ClippingError) as caught:
        ClipActivations(**{argument: value})
    assert str(caught.value) == f"{argument}: got {value!r}; {allowed}"


def test_a_pattern_that_matches_no_layer_is_refused():
    clip = ClipActivations(layers="head")
    with pytest.raises(
        ClippingError, match=r"^clip\.layers: got 'head'; matches none of the layers network\.0, network\.2$"
    ):
        clip.check(Regressor(make_network()))


@pytest.mark.parametrize(
    ("others", "ending"),
    [([], nullcontext()), ([Failing()], pytest.raises(RuntimeError, match="stop"))],
    ids=["training completes", "training fails"],
)
def test_hooks_are_removed_after_training(others, ending):
    network = make_network()
    with ending:
        fit(network, ClipActivations(), *others)
    assert not any(layer._forward_hooks for layer in network.modules())


def test_every_output_of_a_layer_with_several_outputs_is_clipped():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.recurrent, self.output = nn.RNN(20, 4, batch_first=True), nn.Linear(4, 1)

        def forward(self, inputs):
            return self.output(self.recurrent(inputs[:, None])[0][:, -1])

    clip = ClipActivations(1e-9, 1e9)
    gradients = fit(Recurrent(), clip)
    assert clip.clip_fraction == 1.0
    assert gradients[0].abs().max() < 1e-6


def recurrent_gradients_by_hand(network, inputs, target, hidden, output):
    """Return the recurrent and output gradients of a tanh network, by a hand-written backward pass that clips."""
    layer, batch = network.recurrent, len(inputs)
    states = torch.cat([torch.zeros(batch, 1, layer.hidden_size), layer(inputs)[0].detach()], dim=1)
    logits = network.output(states[:, -1])
    at_output = ((logits.softmax(1) - nn.functional.one_hot(target, 4)) / batch).clamp(-output, output)
    at_hidden = at_output @ network.output.weight
    recurrent = torch.zeros_like(layer.weight_hh_l0)
    for step in reversed(range(1, states.shape[1])):
        at_sum = at_hidden.clamp(-hidden, hidden) * (1 - states[:, step] ** 2)
        recurrent += at_sum.T @ states[:, step - 1]
        at_hidden = at_sum @ layer.weight_hh_l0
    return recurrent, at_output.T @ states[:, -1]


@pytest.mark.parametrize(("hidden", "output"), [(1e-3, 1.0), (1e-2, 0.1), (1e9, 1e9)])
def test_recurrent_derivatives_are_clipped_at_every_time_step(hidden, output):
    torch.manual_seed(0)
    network = RNN(6, 4, hidden_size=8, initialization="basic_tanh", weight_deviation=0.6)
    data = SequenceData("temporal_order", length=10, batch_size=5, steps_per_epoch=1)
    (inputs, target) = next(iter(data.train_dataloader()))
    expected = recurrent_gradients_by_hand(network, inputs, target, hidden, output)
    recorded, clip = Gradients(), ClipActivations(hidden, output)
    Trainer(**QUIET, max_steps=1, callbacks=[clip, recorded]).fit(Classifier(network), data)
    gradients = dict(zip((name for name, _ in network.named_parameters()), recorded.gradients, strict=True))
    torch.testing.assert_close(gradients["recurrent.weight_hh_l0"], expected[0], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(gradients["output.weight"], expected[1], rtol=1e-4, atol=1e-7)
    assert clip.clip_fraction == float(hidden < 1)
    assert "forward" not in vars(network.recurrent)
