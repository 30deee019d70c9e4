"""`GradientMonitor` records what a plain loop measures, changes nothing, and reports a divergence where it begins."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BaseFinetuning
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gradclip import MLP, ClipGradients, GradientMonitor, Norm, NormValue, Regressor, TabularData, keys
from gradclip.callbacks.gradient_monitor import _reduce
from gradclip.data.sources import regression
from gradclip.errors import TrainerError
from gradclip.models.optimization import optimizer_factory
from gradclip.telemetry.divergence import Divergence
from tests.support.records import make_record
from tests.support.trainers import QUIET, Points


class Breaking(LightningModule):
    """Two parameters; at one step, counted from 1, the loss or the second gradient or weight becomes non-finite."""

    def __init__(self, place, at_step, number=torch.nan):
        super().__init__()
        self.first, self.second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(3))
        self.place, self.at_step, self.number = place, at_step, number

    def training_step(self, batch, batch_index):
        loss = self.first.square().sum() + self.second.square().sum()
        if self.global_step + 1 != self.at_step:
            return loss
        match self.place:
            case "loss":
                return loss * self.number
            case "gradient":  # sqrt(0) has an infinite derivative, which is multiplied by 0: NaN
                return loss + (0 * self.second).sqrt().sum()
            case "weight":  # a finite gradient of 1e30 times the learning rate overflows float32
                return loss + 1e30 * self.second.sum()

    def configure_optimizers(self):
        rate = 1e10 if self.place == "weight" else 0.0
        return torch.optim.SGD([{"params": [self.first]}, {"params": [self.second], "lr": rate}], lr=1e-3)


def rows_of(batches, batch_size=1):
    return DataLoader(TensorDataset(torch.zeros(batches * batch_size, 1)), batch_size=batch_size)


def fit(module, data, monitor, *callbacks, **arguments):
    trainer = Trainer(**QUIET | {"max_epochs": 2} | arguments, callbacks=[monitor, *callbacks])
    trainer.fit(module, data)
    return monitor.record


def make_network():
    torch.manual_seed(0)
    return MLP(20)


def plain_loop(network, data, clip, accumulated=1, mixed=False):
    """Train for two epochs in plain torch; return the columns of the record that it should have, by name."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    inputs, target = data.sets["train"].tensors
    sampler, measured = data.train_dataloader().sampler, []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        losses, batches = [], [*sampler]
        for number, rows in enumerate(batches, start=1):
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                loss = nn.functional.mse_loss(network(inputs[rows]), target[rows]) / accumulated
            loss.backward()
            losses.append(loss.item())
            if number % accumulated and number < len(sampler):
                continue
            before, gradient = gradient_norms(network), flat(p.grad for p in network.parameters())
            clip(list(network.parameters()))
            after, clipped = gradient_norms(network), flat(p.grad for p in network.parameters())
            old = copy.deepcopy([*network.parameters()])
            optimizer.step()
            optimizer.zero_grad()
            weights = [p.double().norm().item() for p in network.parameters()]
            updates = [(p - q).double().norm().item() for p, q in zip(network.parameters(), old, strict=True)]
            cosine = nn.functional.cosine_similarity(gradient, clipped, dim=0).item()
            seen_rows = [row for batch in batches[number - len(losses) : number] for row in batch]
            measured.append(
                {
                    "epoch": epoch + 1,
                    "batch": number - 1,
                    "loss": np.mean(losses) * accumulated,
                    "max_abs": gradient.abs().max().item(),
                    "input_max_abs": inputs[seen_rows].abs().max().item(),
                    "target_max_abs": target[seen_rows].abs().max().item(),
                    "cosine": cosine,
                    "norms": before,
                    "norms_clipped": after,
                    "weights": weights,
                    "updates": updates,
                }
            )
            losses = []
    return {name: np.array([step[name] for step in measured]) for name in measured[0]}


def flat(tensors):
    return torch.cat([tensor.double().flatten() for tensor in tensors])


def gradient_norms(network):
    return [p.grad.double().square().sum().sqrt().item() for p in network.parameters()]


def clip_norm(parameters):
    nn.utils.clip_grad_norm_(parameters, 1.0)


def clip_value(parameters):
    nn.utils.clip_grad_value_(parameters, 5.0)


def clip_both(parameters):
    nn.utils.clip_grad_norm_(parameters, 1.0)
    nn.utils.clip_grad_value_(parameters, 0.2)


NORM = {"gradient_clip_val": 1.0}
VALUE = {"gradient_clip_val": 5.0, "gradient_clip_algorithm": "value"}


@pytest.mark.parametrize(
    ("clip", "arguments", "callbacks", "accumulated", "mixed"),
    [
        (clip_norm, NORM, [], 1, False),
        (clip_value, VALUE, [], 1, False),
        (clip_both, {}, [ClipGradients(NormValue(1.0, 0.2))], 1, False),
        (clip_norm, NORM, [], 2, False),
        (clip_both, {}, [ClipGradients(NormValue(1.0, 0.2))], 2, False),
        (clip_norm, NORM, [], 1, True),
        (clip_norm, NORM, [], 2, True),
    ],
    ids=["norm", "value", "both", "norm accumulated", "both accumulated", "norm mixed", "norm accumulated mixed"],
)
def test_the_record_equals_the_measurements_of_a_plain_loop(clip, arguments, callbacks, accumulated, mixed):
    data, network = TabularData(regression(), batch_size=100), make_network()  # 5 batches: an odd number
    expected = plain_loop(copy.deepcopy(network), data, clip, accumulated, mixed)
    precision = "bf16-mixed" if mixed else "32-true"
    record = fit(
        Regressor(network),
        data,
        GradientMonitor(flush_every=4),
        *callbacks,
        accumulate_grad_batches=accumulated,
        precision=precision,
        **arguments,
    )
    assert record.step.tolist() == [*range(1, len(expected["loss"]) + 1)]
    assert record.names == tuple(f"network.{name}" for name, _ in network.named_parameters())
    for column, theirs in expected.items():
        np.testing.assert_allclose(
            getattr(record, column), theirs, rtol=2e-2 if mixed else 1e-3, atol=1e-4, err_msg=column
        )
    np.testing.assert_allclose(record.norm, np.linalg.norm(expected["norms"], axis=1), rtol=2e-2 if mixed else 1e-4)
    assert not record.nonfinite.any()
    assert record.divergence is None


@pytest.mark.parametrize(("arguments", "callbacks"), [(NORM, []), ({}, [ClipGradients(Norm(1.0))])])
def test_the_norms_of_a_network_with_one_tensor_equal_those_of_a_plain_loop(arguments, callbacks):
    torch.manual_seed(0)
    network, data = nn.Linear(20, 1, bias=False), TabularData(regression(), batch_size=100)
    expected = plain_loop(copy.deepcopy(network), data, clip_norm)
    record = fit(Regressor(network), data, GradientMonitor(), *callbacks, **arguments)
    for column in ("norms", "norms_clipped", "weights", "updates"):
        np.testing.assert_allclose(getattr(record, column), expected[column], rtol=1e-4, err_msg=column)


@pytest.mark.parametrize("arguments", [{"max_steps": 4}, NORM, {"accumulate_grad_batches": 2, **VALUE}])
def test_training_is_the_same_with_and_without_the_monitor(arguments):
    watched, plain, data = make_network(), make_network(), TabularData(regression())
    fit(Regressor(watched), data, GradientMonitor(flush_every=3), logger=Points(), **arguments)
    Trainer(**QUIET, max_epochs=2, **arguments).fit(Regressor(plain), data)
    torch.testing.assert_close([*watched.parameters()], [*plain.parameters()], rtol=0, atol=0)


def test_frozen_parameters_are_not_recorded_and_unused_ones_have_norm_zero():
    network = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 1))
    network[0].weight.requires_grad_(False)
    module = Regressor(network)
    module.unused = nn.Parameter(torch.full((3,), 7.0))
    record = fit(module, TabularData(regression()), GradientMonitor(), max_epochs=1, **NORM)
    assert record.names == ("unused", "network.0.bias", "network.2.weight", "network.2.bias")
    assert not record.norms[:, 0].any()
    assert record.weights[:, 0] == pytest.approx(7.0 * 3**0.5)
    assert (record.norms[:, 1:] > 0).all()
    assert record.norm_clipped == pytest.approx(np.ones(16), rel=1e-5)


@pytest.mark.parametrize("flush_every", [1, 3, 100])
@pytest.mark.parametrize(
    ("place", "number", "expected"),
    [
        ("loss", torch.nan, "loss"),
        ("loss", torch.inf, "loss"),
        ("gradient", torch.nan, "gradient second"),
        ("weight", torch.nan, "weight second"),
    ],
)
def test_the_first_non_finite_number_is_reported_with_its_step_epoch_and_place(place, number, expected, flush_every):
    record = fit(Breaking(place, at_step=7, number=number), rows_of(5), GradientMonitor(flush_every))
    assert record.divergence == Divergence(step=7, epoch=2, place=expected)
    assert len(record.step) == 10


def test_a_large_finite_gradient_is_not_a_divergence():
    module = Breaking("weight", at_step=3)
    module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), lr=1e-32)
    record = fit(module, rows_of(5), GradientMonitor())
    assert record.divergence is None
    assert record.norm[2] == pytest.approx(1e30 * 3**0.5)


@pytest.mark.parametrize(
    ("flush_every", "steps_after", "last_step"),
    [
        (1, 0, 7),
        (1, 5, 12),
        (4, 5, 12),  # flushes at steps 4, 8 and 12; step 12 is 5 steps after step 7
        (4, 6, 16),
        (20, 10, 20),
        (4, None, 40),
    ],
)
def test_training_stops_at_the_first_flush_after_the_given_number_of_steps(flush_every, steps_after, last_step):
    monitor = GradientMonitor(flush_every, steps_after_divergence=steps_after)
    record = fit(Breaking("loss", at_step=7), rows_of(40), monitor, max_epochs=1)
    assert record.step[-1] == last_step
    assert record.divergence == Divergence(7, 1, "loss")


def test_a_finite_run_is_never_stopped():
    record = fit(Breaking("loss", at_step=1000), rows_of(40), GradientMonitor(4, steps_after_divergence=0))
    assert len(record.step) == 80


def test_loggers_receive_every_finite_point_and_no_other():
    logger = Points()
    record = fit(Breaking("loss", at_step=7), rows_of(10), GradientMonitor(4), logger=logger, max_epochs=1)
    assert all(np.isfinite(list(series.values())).all() for series in logger.points.values())
    columns = {
        keys.LOSS_STEP: record.loss,
        keys.GRAD_NORM: record.norm,
        keys.GRAD_NORM_CLIPPED: record.norm_clipped,
        keys.GRAD_MAX_ABS: record.max_abs,
        keys.GRAD_COEFFICIENT: record.coefficient,
    }
    for key, column in columns.items():
        finite = np.isfinite(column)
        assert logger.points[key] == dict(zip(record.step[finite].tolist(), column[finite].tolist(), strict=True))
    assert max(logger.points[keys.LOSS_STEP]) == 6  # the curve ends at its last finite point
    assert max(logger.points[keys.GRAD_NORM_PEAK]) == 6


@pytest.mark.parametrize(("steps", "window"), [(40, 1), (320, 1), (321, 2), (700, 3)])
def test_peaks_are_the_largest_norms_of_at_most_320_windows(steps, window):
    torch.manual_seed(0)
    rows = DataLoader(TensorDataset(torch.randn(steps, 2), torch.randn(steps, 1)), batch_size=1)
    logger, module = Points(), Regressor(nn.Linear(2, 1), optimizer=optimizer_factory("sgd", lr=1e-3))
    record = fit(module, rows, GradientMonitor(flush_every=50), logger=logger, max_epochs=1)
    peaks = logger.points[keys.GRAD_NORM_PEAK]
    assert len(peaks) <= 320
    whole_windows = {end: record.norm[end - window : end].max() for end in range(window, steps + 1, window)}
    assert whole_windows.items() <= peaks.items()
    assert len(peaks) <= len(whole_windows) + 1


def test_the_peak_of_the_last_incomplete_window_is_logged():
    torch.manual_seed(0)
    inputs = torch.ones(321, 1)
    inputs[-1] = 1e4
    rows = DataLoader(TensorDataset(inputs, torch.ones(321, 1)), batch_size=1)
    logger, module = Points(), Regressor(nn.Linear(1, 1), optimizer=optimizer_factory("sgd", lr=1e-3))
    record = fit(module, rows, GradientMonitor(), logger=logger, max_epochs=1)
    assert record.norm.argmax() == 320
    assert max(logger.points[keys.GRAD_NORM_PEAK].values()) == record.norm.max()


def test_steps_before_an_exception_are_in_the_record():
    class Interrupted(Breaking):
        def on_train_batch_start(self, batch, batch_index):
            if batch_index == 6:
                raise RuntimeError("pulled the plug")

    monitor = GradientMonitor(flush_every=100)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        fit(Interrupted("loss", at_step=1000), rows_of(10), monitor)
    assert monitor.record.step.tolist() == [1, 2, 3, 4, 5, 6]


def test_a_second_fit_starts_a_new_record():
    monitor = GradientMonitor()
    fit(Breaking("loss", at_step=2), rows_of(4), monitor, max_epochs=1)
    record = fit(Breaking("loss", at_step=1000), rows_of(3), monitor, max_epochs=1)
    assert record.step.tolist() == [1, 2, 3]
    assert record.divergence is None


def test_a_monitor_after_clip_gradients_is_refused():
    trainer = Trainer(**QUIET, max_epochs=1, callbacks=[ClipGradients(NormValue(1.0, 1.0)), GradientMonitor()])
    with pytest.raises(TrainerError) as caught:
        trainer.fit(Breaking("loss", at_step=1000), rows_of(2))
    assert str(caught.value) == "callbacks: ClipGradients comes before GradientMonitor; put the monitor first"


@pytest.mark.parametrize("arguments", [{}, NORM])
def test_sparse_gradients_are_refused(arguments):
    class Sparse(Breaking):
        def __init__(self):
            super().__init__("loss", at_step=1000)
            self.table = nn.Embedding(5, 1, sparse=True)

        def training_step(self, batch, batch_index):
            return self.table(torch.tensor([1])).sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1e-3)

    with pytest.raises(TrainerError, match=r"^table\.weight: got a sparse gradient; must be dense"):
        fit(Sparse(), rows_of(2), GradientMonitor(), **arguments)


def test_parameters_that_are_unfrozen_during_training_are_in_the_record():
    class Unfreezing(BaseFinetuning):
        def freeze_before_training(self, pl_module):
            self.freeze(pl_module.network[0])

        def finetune_function(self, pl_module, epoch, optimizer):
            if epoch == 1:
                self.unfreeze_and_add_param_group(pl_module.network[0], optimizer, lr=1e-4)

    network = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 1))
    record = fit(Regressor(network), TabularData(regression()), GradientMonitor(), Unfreezing(), **NORM)
    first = record.names.index("network.0.weight")
    assert np.isnan(record.norms[record.epoch == 1, first]).all()
    assert record.norms[record.epoch == 2, first].all()
    assert record.norm_clipped == pytest.approx(np.ones(32), rel=1e-5)


def test_the_record_is_empty_before_fit():
    record = GradientMonitor().record
    assert record.names == ()
    assert record.divergence is None
    assert np.isnan(record.clip_fraction)


def test_losses_and_batch_extremes_are_reduced_on_the_device_of_the_process_group():
    class Strategy:
        """A process group that accepts only tensors on its own device, as NCCL does; here the meta device."""

        root_device = torch.device("meta")

        def reduce(self, tensor, reduce_op):
            assert tensor.device == self.root_device
            return torch.full(tensor.shape, {"mean": 2.0, "max": 3.0}[reduce_op])

    block = make_record(np.ones((4, 2)), input_max_abs=[1.0] * 4)
    trainer = SimpleNamespace(strategy=Strategy())
    reduced = _reduce(trainer, block)
    assert reduced.loss.tolist() == [2.0] * 4
    assert reduced.input_max_abs.tolist() == reduced.target_max_abs.tolist() == [3.0] * 4


@pytest.mark.parametrize(
    ("argument", "value", "least"),
    [
        *(("flush_every", value, 1) for value in (0, 1.5, "20", None, True, np.nan, 10**400)),
        *(("updates_every", value, 1) for value in (0, "20")),
        *(("steps_after_divergence", value, 0) for value in (-1, "10")),
    ],
)
def test_an_interval_that_is_no_whole_number_in_range_is_refused(argument, value, least):
    got = "an integer larger than any float" if value == 10**400 else repr(value)
    allowed = f"must be a whole number from {least} to 2147483647"
    with pytest.raises(TrainerError, match=f"^{argument}: got {got}; {allowed}$"):
        GradientMonitor(**{argument: value})
