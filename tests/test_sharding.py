"""Sharded training with two processes clips and records the same as training with one process."""

from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial

import numpy as np
import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, SequenceParallel, parallelize_module

from gradclip.clipping.build import make_clipper
from gradclip.errors import ClippingError
from gradclip.norms.tensors import tensor_norms
from gradclip.sharding import is_distributed, to_local
from gradclip.telemetry.measures import nonfinite_counts
from gradclip.telemetry.recorders import make_recorder
from gradclip.telemetry.steps import Effect, StepIndex
from tests.clipping.test_contract import NAMES, make
from tests.support.torch_version import NEEDS_FSDP_ON_CPU
from tests.support.warm_process import FORKS

PROCESSES, STEPS = 2, 3
SHARDINGS = [
    pytest.param("fsdp", marks=NEEDS_FSDP_ON_CPU),
    "tensor parallel",
    pytest.param("both", marks=NEEDS_FSDP_ON_CPU),
    pytest.param("sequence parallel", marks=NEEDS_FSDP_ON_CPU),  # such torch also trains this wrongly, without gradclip
]
SETTINGS = {
    "groups": {"groups": [{"parameters": "*.weight", "value": 0.1}]},
    "skip": {"value": 6.0},
    "norm": {"value": 0.5},
    "value": {"value": 0.05},
}
CLIPPERS = {name: partial(make, name, **SETTINGS.get(name, {})) for name in NAMES} | {
    "norm of order 1": partial(make_clipper, "norm", value=1.0, order=1.0),
    "norm of order inf": partial(make_clipper, "norm", value=0.1, order=torch.inf),
    "scheduled": partial(make_clipper, "value", value=0.05, schedule={"end": 0.5, "steps": 3}),
}
NEEDS_ELEMENTS = {"value": "value", "norm_value": "value", "scheduled": "value", "spike": "spike"}
CASES = [(name, torch.float32) for name in CLIPPERS] + [("norm", torch.float64), ("adaptive", torch.float64)]


def make_network(dtype):
    """Return a network with shapes that do not divide evenly; the second process gets no part of a single row."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 5), nn.LayerNorm(5), nn.Linear(5, 1)).to(dtype)


def shard_network(network, sharding):
    layouts = {"0": ColwiseParallel(), "2": RowwiseParallel()}
    if sharding == "fsdp":
        fully_shard(network, mesh=init_device_mesh("cpu", (PROCESSES,)))
    elif sharding == "tensor parallel":  # the later layers are not sharded
        parallelize_module(network, init_device_mesh("cpu", (PROCESSES,)), layouts)
    elif sharding == "both":
        mesh = init_device_mesh("cpu", (PROCESSES, 1), mesh_dim_names=("data", "tensor"))
        parallelize_module(network, mesh["tensor"], layouts)
        fully_shard(network, mesh=mesh["data"])
    else:  # the gradients of the LayerNorm are not summed over the processes
        layouts |= {"2": RowwiseParallel(output_layouts=Shard(0)), "3": SequenceParallel(sequence_dim=0)}
        layouts["4"] = RowwiseParallel(input_layouts=Shard(0))
        parallelize_module(network, init_device_mesh("cpu", (PROCESSES,)), layouts)
    return network


def rows_of(sharding, rank):
    return slice(rank, None, PROCESSES) if sharding in {"fsdp", "both"} else slice(None)


def train(network, clipper, rows=slice(None)):
    """Train for :data:`STEPS` steps and return the weights and the record."""
    named = dict(network.named_parameters())
    recorder = make_recorder(list(named.items()), Effect.ANY)
    optimizer = torch.optim.SGD(named.values(), lr=0.3, momentum=0.5)
    generator = torch.Generator().manual_seed(1)
    state = clipper.init(named)
    dtype = next(iter(named.values())).dtype
    for step in range(STEPS):
        inputs = (10.0**step * torch.randn(8, 3, generator=generator)).to(dtype)
        optimizer.zero_grad()
        loss = (network(inputs[rows]) - inputs[rows, :1]).square().mean()
        loss.backward()
        with torch.no_grad():
            recorder.record_gradients(measure_updates=True)
            gradients = {name: parameter.grad for name, parameter in named.items()}
            after = clipper.clip_in_place(gradients, named, state)
            if not (clipper.may_skip and clipper.skips(state, after)):
                optimizer.step()
            state = after
            recorder.record_step(StepIndex(step + 1, 1, step), loss.detach(), [])
    weights = [whole(parameter.detach()) for parameter in named.values()]
    return [weight.numpy() for weight in weights], recorder.flush()


def whole(tensor):
    return tensor.full_tensor() if is_distributed(tensor) else tensor


def work(rank, sharding, rendezvous):
    """Train with each clipper in one of the processes and return the results by case."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=PROCESSES)
    found = {}
    for name, dtype in CASES:
        network = shard_network(make_network(dtype), sharding)
        try:
            found[name, dtype] = train(network, CLIPPERS[name](), rows_of(sharding, rank))
        except ClippingError as error:
            found[name, dtype] = str(error)
    network = shard_network(make_network(torch.float32), sharding)
    found["report"] = report_of(network, rows_of(sharding, rank))
    first = network[0].weight.grad
    to_local(first)[0] = torch.nan  # three elements in each process
    found["nonfinite"] = nonfinite_counts([first], tensor_norms([first])).item()
    distributed.destroy_process_group()
    return found


def report_of(network, rows=slice(None)):
    """Return the reports of two pure clippers about a first step, the largest element, and the clipped gradients."""
    network(torch.ones(8, 3)[rows]).square().mean().backward()
    named = dict(network.named_parameters())
    gradients = {name: parameter.grad for name, parameter in named.items()}
    largest = max(whole(gradient).abs().max().item() for gradient in gradients.values())
    clipped, _, report = make_clipper("adaptive", value=1e-3)(gradients, named, {})
    cut = make_clipper("groups", method="norm", value=0.01, groups=[{"parameters": "*.weight", "value": 1e9}])
    partly = cut(gradients, named, cut.init(named))[2]
    return [largest, *map(float, report), *map(float, partly)], [whole(g).numpy() for g in clipped.values()]


@cache
def trained_by_two(sharding, folder):
    with ProcessPoolExecutor(PROCESSES, mp_context=FORKS) as pool:
        futures = [pool.submit(work, rank, sharding, folder / "rendezvous") for rank in range(PROCESSES)]
        return [future.result() for future in futures]


@cache
def trained_alone(name, dtype):
    return train(make_network(dtype), CLIPPERS[name]())


@pytest.fixture(scope="module", params=SHARDINGS)
def found(request, tmp_path_factory):
    return request.param, trained_by_two(request.param, tmp_path_factory.mktemp("rendezvous"))


def refusal(name, sharding):
    """Return the beginning of the error if a method needs whole matrices, or elements that are partial sums."""
    if name == "spectral":
        return "clip: got spectral; the gradient of 0.weight is spread over processes"
    if sharding == "sequence parallel" and name in NEEDS_ELEMENTS:
        return f"clip: got {NEEDS_ELEMENTS[name]}; the gradient of 3.weight is only a partial sum in each process"
    return None


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_weights_and_record_equal_those_of_one_process_or_the_method_is_refused(found, name, dtype):
    sharding, by_rank = found
    if error := refusal(name, sharding):
        assert all(of_rank[name, dtype].startswith(error) for of_rank in by_rank)
        return
    weights, record = trained_alone(name, dtype)
    tolerance = {"rtol": 2e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-10, "atol": 1e-12}
    for own_weights, own in (of_rank[name, dtype] for of_rank in by_rank):
        for one, other in zip(own_weights, weights, strict=True):
            np.testing.assert_allclose(one, other, **tolerance)
        for column in ("norms", "norms_clipped", "weights", "updates", "nonfinite", "max_abs", "inner_product"):
            np.testing.assert_allclose(getattr(own, column), getattr(record, column), **tolerance, err_msg=column)


def test_nonfinite_elements_are_counted_over_all_processes(found):
    _, by_rank = found
    assert [of_rank["nonfinite"] for of_rank in by_rank] == [6, 6]


def test_the_report_equals_that_of_one_process(found):
    _, by_rank = found
    numbers, clipped = report_of(make_network(torch.float32))
    for own_numbers, own_clipped in (of_rank["report"] for of_rank in by_rank):
        np.testing.assert_allclose(own_numbers, numbers, rtol=1e-4)
        for one, other in zip(own_clipped, clipped, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)
