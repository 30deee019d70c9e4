"""Training with the modules equals a plain loop; scores are in the unit of the target."""

import copy

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch import nn

from gradclip import (
    MLP,
    RNN,
    Classifier,
    ClipGradients,
    Norm,
    NormValue,
    Regressor,
    SequenceData,
    TabularData,
    Value,
)
from gradclip.data.sources import diabetes, regression
from gradclip.errors import ModelError
from gradclip.models.optimization import build_loss, optimizer_factory, schedule_factory
from gradclip.scores import MSE
from tests.support.trainers import SILENT

EPOCHS = 3


class StepWeights(Callback):
    def on_fit_start(self, trainer, pl_module):
        self.weights = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step > len(self.weights):
            self.weights.append(flat(pl_module.network))


def flat(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()]).clone()


def make_network(seed=0, in_features=20):
    torch.manual_seed(seed)
    return MLP(in_features)


def train_with_lightning(network, data, lr=0.01, **trainer_arguments):
    callbacks = [*trainer_arguments.pop("callbacks", []), StepWeights()]
    module = Regressor(network, optimizer=optimizer_factory("sgd", lr=lr, momentum=0.9))
    Trainer(**SILENT, **{"max_epochs": EPOCHS, "callbacks": callbacks} | trainer_arguments).fit(module, data)
    return module, callbacks[-1].weights


def clip_with_torch(method, parameters):
    if method in {"norm", "norm_value"}:
        nn.utils.clip_grad_norm_(parameters, 1.0)
    if method in {"value", "norm_value"}:
        nn.utils.clip_grad_value_(parameters, 0.2 if method == "norm_value" else 5.0)


def train_with_torch(network, data, method, accumulated=1, lr=0.01):
    """Train in a plain loop; return the weights after each step and both errors after each epoch."""
    parameters = list(network.parameters())
    kind = parameters[0].dtype
    inputs, target = (tensor.to(kind) for tensor in data.sets["train"].tensors)
    velocities = [torch.zeros_like(parameter) for parameter in parameters]
    weights, errors = [], []
    batches = data.train_dataloader().sampler
    for epoch in range(EPOCHS):
        batches.set_epoch(epoch)
        for number, rows in enumerate(batches, start=1):
            loss = (network(inputs[rows]) - target[rows]).square().mean() / accumulated
            loss.backward()
            if number % accumulated and number < len(batches):
                continue
            clip_with_torch(method, parameters)
            with torch.no_grad():
                for parameter, velocity in zip(parameters, velocities, strict=True):
                    velocity.mul_(0.9).add_(parameter.grad)
                    parameter.sub_(lr * velocity)
                    parameter.grad = None
            weights.append(flat(network))
        errors.append([mean_squared_error(network, rows) for rows in (data.sets["train"], data.sets["test"])])
    return weights, np.array(errors)


def mean_squared_error(network, rows):
    inputs, target = rows.tensors
    with torch.no_grad():
        predictions = network(inputs.to(next(network.parameters()).dtype))
    return np.mean(np.square(predictions.double().numpy() - target.numpy()))


CLIPPINGS = {
    "none": lambda: {},
    "norm": lambda: {"gradient_clip_val": 1.0, "gradient_clip_algorithm": "norm"},
    "value": lambda: {"gradient_clip_val": 5.0, "gradient_clip_algorithm": "value"},
    "norm_value": lambda: {"callbacks": [ClipGradients(NormValue(norm=1.0, value=0.2))]},
    "norm by callback": lambda: {"callbacks": [ClipGradients(Norm(1.0))]},
    "value by callback": lambda: {"callbacks": [ClipGradients(Value(5.0))]},
}


@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize("clipping", CLIPPINGS)
def test_lightning_equals_a_plain_loop_step_by_step(clipping, accumulated):
    lr = 1e-5 if clipping == "none" else 0.01  # without clipping, training stays finite only at a small rate
    data, network = TabularData(regression(), batch_size=36), make_network()  # 14 batches, the last one smaller
    # Use float64: value clipping changes the path so often that float32 rounding alone separates two runs by 1e-5.
    copied = copy.deepcopy(network).double()
    expected, errors = train_with_torch(copied, data, clipping.split(" ")[0], accumulated, lr)
    module, weights = train_with_lightning(
        network, data, lr, accumulate_grad_batches=accumulated, precision="64-true", **CLIPPINGS[clipping]()
    )
    assert len(weights) == len(expected) == EPOCHS * 14 // accumulated
    for ours, theirs in zip(weights, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(module.curves[MSE.by_epoch("train")], errors[:, 0], rtol=1e-5)
    np.testing.assert_allclose(module.curves[MSE.by_epoch("test")], errors[:, 1], rtol=1e-5)


def test_an_incomplete_accumulation_at_the_end_of_an_epoch_is_a_step():
    data, network = TabularData(regression(), batch_size=100), make_network()  # 5 batches
    expected, _ = train_with_torch(copy.deepcopy(network), data, "norm", accumulated=2)
    _, weights = train_with_lightning(network, data, accumulate_grad_batches=2, gradient_clip_val=1.0)
    assert len(weights) == len(expected) == EPOCHS * 3
    torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_training_at_the_tutorials_rate_diverges_without_clipping(seed):
    module, weights = train_with_lightning(make_network(seed), TabularData(regression(), seed=seed))
    assert not weights[-1].isfinite().any()
    assert np.isnan([module.curves[MSE.by_epoch("train")][-1], module.curves[MSE.by_epoch("test")][-1]]).all()


def test_mean_squared_errors_equal_numpys_in_target_units():
    table = diabetes(validation_fraction=0.2)
    data = TabularData(table, scale_inputs="standard", scale_target="standard")
    network = make_network(in_features=10)
    module = Regressor(network, target_scale=data.scaling.target_scale, splits=data.splits)
    Trainer(**SILENT, max_epochs=2).fit(module, data)
    for key, rows in zip(("mse/train", "mse/validation", "mse/test"), table.rows.values(), strict=True):
        inputs = data.scaling.scale_inputs(table.features.iloc[rows])
        with torch.no_grad():
            outputs = network(torch.tensor(inputs, dtype=torch.float32)).double().numpy()
        predictions = data.scaling.target.inverse_transform(outputs)[:, 0]
        expected = np.mean((predictions - table.target.to_numpy()[rows]) ** 2)
        assert module.curves[key][-1] == pytest.approx(expected, rel=1e-5)
        assert len(module.curves[key]) == 2


def test_a_schedule_changes_the_rate_at_every_step():
    class Rates(Callback):
        rates = ()

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            self.rates += (optimizer.param_groups[0]["lr"],)

    rates = Rates()
    module = Regressor(
        make_network(),
        optimizer=optimizer_factory("sgd", lr=1e-5),
        schedule=schedule_factory("warmup_cosine", warmup_fraction=0.25, final_fraction=0.0),
    )
    Trainer(**SILENT, max_epochs=2, callbacks=[rates]).fit(module, TabularData(regression(), batch_size=125))
    warmup, fall = [1 / 3, 2 / 3], [(1 + np.cos(np.pi * step / 6)) / 2 for step in range(6)]
    assert rates.rates == pytest.approx(1e-5 * np.array([*warmup, *fall]))  # 8 steps in all


def test_the_given_loss_and_optimizer_are_used():
    network, batch = make_network(), (torch.ones(4, 20), torch.zeros(4, 1))
    module = Regressor(network, loss=build_loss("mae"), optimizer=optimizer_factory("adam", lr=0.5))
    assert module.training_step(batch, 0).item() == pytest.approx(network(batch[0]).abs().mean().item())
    optimizer = module.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.defaults["lr"] == 0.5


def test_frozen_parameters_are_not_passed_to_the_optimizer():
    network = make_network()
    network[0].requires_grad_(False)
    optimizer = Regressor(network).configure_optimizers()
    assert optimizer.param_groups[0]["params"] == list(network[2].parameters())


def test_accuracy_is_the_fraction_of_correct_predictions_over_all_steps():
    sizes = {"validation_sequences": 100, "test_sequences": 200}
    data = SequenceData("copy", length=5, batch_size=10, steps_per_epoch=3, **sizes)
    torch.manual_seed(0)
    module = Classifier(RNN(10, 9, every_step=True), splits=data.splits)
    Trainer(**SILENT, max_epochs=2).fit(module, data)
    for key, loader in zip(module.curves, data.val_dataloader(), strict=True):
        if hasattr(loader.sampler, "set_epoch"):
            loader.sampler.set_epoch(1)
        with torch.no_grad():
            correct = torch.cat([(module(inputs).argmax(-1) == target).flatten() for inputs, target in loader])
        assert len(module.curves[key]) == 2
        assert module.curves[key][-1] == pytest.approx(correct.double().mean().item())
    assert list(module.curves) == ["accuracy/train", "accuracy/validation", "accuracy/test"]


def test_accuracy_of_outputs_that_are_nan_is_nan():
    data = SequenceData("temporal_order", length=10, batch_size=10, steps_per_epoch=2, test_sequences=100)
    network = RNN(6, 4)
    nn.init.constant_(network.output.bias, float("nan"))
    module = Classifier(network)
    Trainer(**SILENT, max_epochs=1).fit(module, data)
    assert np.isnan([curve[-1] for curve in module.curves.values()]).all()


@pytest.mark.parametrize("shape", [(7,), (7, 5)])
def test_cross_entropy_is_the_mean_over_rows_and_steps(shape):
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(*shape, 4, generator=generator), torch.randint(4, shape, generator=generator)
    chosen = torch.log_softmax(logits, -1).gather(-1, target[..., None])
    torch.testing.assert_close(build_loss("cross_entropy")(logits, target), -chosen.mean())


def test_outputs_that_would_be_broadcast_to_the_target_are_refused():
    with pytest.raises(
        ModelError, match=r"^network: got outputs of shape \[3\]; must have the shape of the target, \[3, 1\]"
    ):
        Regressor(MLP(20)).score_per_example(torch.zeros(3), torch.zeros(3, 1))
