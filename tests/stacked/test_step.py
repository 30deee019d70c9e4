"""A stacked step can be captured in a CUDA graph: all tensors are on the device and no value is read."""

import copy

import pytest
import torch

from gradclip.stacked.batches import stack_batches
from gradclip.stacked.clipping import StackedClipper
from gradclip.stacked.graphs import GraphedFunction
from gradclip.stacked.measurements import StackedMeasurements
from gradclip.stacked.network import StackedNetwork
from gradclip.stacked.replicas import make_replicas
from gradclip.stacked.state import TensorOptions
from gradclip.stacked.step import StackedOptimizerStep, initial_state
from gradclip.stacked.telemetry import StackedRecorder
from gradclip.telemetry.steps import StepIndex
from gradclip.training.modules import build_supervised_module
from tests.stacked.test_training import ADDING, METHODS, ORDER, OTHER_METHODS, pair
from tests.test_devices import NoCopiesOfNumbers, OnDeviceOnly

DEVICE = torch.device("meta")  # its tensors have no values and cannot be combined with those of other devices
OPTIMIZERS = [("optimizer=adamw", "optimizer.lr=0.01,0.02"), ("optimizer=rmsprop", "schedule=warmup_cosine")]
NETWORKS = [("model=lstm", *ORDER), ("model=gru", *ADDING, "trainer.accumulate_grad_batches=2")]


def step_without_values(configs):
    """Return a stacked step on the meta device and the tensors of its batches."""
    replicas, options = make_replicas(configs), TensorOptions(DEVICE, torch.float32)
    learner = build_supervised_module(configs[0], copy.deepcopy(replicas[0].network), replicas[0].data).to(DEVICE)
    network = StackedNetwork(learner, [replica.network for replica in replicas], options)
    batches = stack_batches([replica.data for replica in replicas], options)
    batches.start_epoch(0)
    clipper = StackedClipper(configs, network)
    state = initial_state(configs, clipper)
    factors = torch.ones(4, dtype=torch.float64, device=DEVICE)
    step = StackedOptimizerStep(configs[0], clipper, state, batches, factors)
    accumulated = configs[0].trainer.accumulate_grad_batches
    return step, [tensor for index in range(accumulated) for tensor in batches.tensors(index)]


@pytest.mark.parametrize(
    "overrides", [*METHODS, *OTHER_METHODS, *OPTIMIZERS, *NETWORKS], ids=lambda overrides: " ".join(overrides)[:60]
)
def test_a_step_stays_on_the_device_and_reads_no_value(overrides):
    step, tensors = step_without_values(pair(*overrides))
    clipper, state = step.clipper, step.state
    network = clipper.network
    kinds = {"multiplies": clipper.multiplies, "changes_direction": clipper.changes_direction}
    recorder = StackedRecorder(network.names, len(state.ids), total_steps=4)
    recorder.start_block(state.ids, StackedMeasurements(state.parameters, network.sizes, **kinds))
    with OnDeviceOnly(allows_scalars=True), NoCopiesOfNumbers():
        for number in range(3):
            recorder.record_step(step(*tensors), state.parameters, StepIndex(number + 1, 1, number), number != 1)
    assert step.state.parameters.device == DEVICE


def test_without_cuda_a_graphed_function_is_called_directly():
    total = torch.zeros(2)
    add = GraphedFunction(lambda numbers: (total.add_(numbers), 2 * numbers), torch.device("cpu"))
    for number in range(3):
        assert add(torch.full((2,), number))[1].tolist() == [2 * number, 2 * number]
    assert total.tolist() == [3.0, 3.0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_results_of_replayed_graphs_stay_as_they_were():
    device, total = torch.device("cuda"), torch.zeros(1, device="cuda")
    double = GraphedFunction(lambda numbers: (total.add_(numbers.sum()).clone(), 2 * numbers), device)
    arguments = [torch.full((size,), float(value), device=device) for value in range(6) for size in (3, 5)]
    results = [double(argument) for argument in arguments]
    sums = torch.stack([argument.sum() for argument in arguments]).cumsum(0)
    assert torch.cat([result[0] for result in results]).tolist() == sums.tolist()
    assert all(torch.equal(result[1], 2 * argument) for result, argument in zip(results, arguments, strict=True))
