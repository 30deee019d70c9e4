"""Steps do not mix devices or synchronize with a GPU, tested on a CPU with the ``meta`` device in place of the GPU.

Meta tensors have no values, so reading one raises an error. No operation may take or create a CPU tensor.
"""

from functools import partial

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gradclip.clipping.build import make_clipper
from gradclip.loops.watch import watch
from gradclip.telemetry.batches import batch_extremes, mean_loss, merge_extremes
from gradclip.telemetry.recorders import CopyingRecorder, MeasuringRecorder
from gradclip.telemetry.steps import Effect, StepIndex
from tests.clipping.test_contract import SHAPES
from tests.clipping.test_in_place import CLIPPERS

METHODS = CLIPPERS | {
    "limited to some parameters": partial(make_clipper, "zscore", parameters="w*"),
    "exponential schedule": partial(make_clipper, "norm", value=1.0, schedule={"end": 2.0, "shape": "exponential"}),
}
TYPES = [torch.float32, torch.float64, torch.bfloat16, torch.complex64]
METHODS_WATCHED = {"norm": {"value": 1.0}, "adaptive": {}, "zscore": {}}
every_clipper = pytest.mark.parametrize("name", METHODS)


class OnDeviceOnly(TorchDispatchMode):
    """Mode that refuses every operation that takes or creates a CPU tensor.

    Args:
        allows_scalars: whether kernels may take CPU scalars as arguments, without copying them to the device;
            ``torch.vmap`` creates them from numbers.
    """

    def __init__(self, allows_scalars=False):
        super().__init__()
        self.allows_scalars = allows_scalars

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        made = operation(*arguments, **keywords or {})
        tensors = [value for value in tree_leaves((arguments, keywords, made)) if isinstance(value, torch.Tensor)]
        copies = "copy" in str(operation) and any(tensor.is_meta for tensor in tensors)
        for tensor in tensors:
            is_allowed = self.allows_scalars and tensor.ndim == 0 and not copies
            assert is_allowed or not tensor.is_cpu, f"{operation} uses a CPU tensor"
        return made


class NoCopiesOfNumbers(TorchFunctionMode):
    """Mode that refuses to copy numbers from the CPU, for which a GPU waits; ``torch.full`` does not copy."""

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        copies = function in (torch.tensor, torch.as_tensor) and not isinstance(arguments[0], torch.Tensor)
        assert not copies, f"{function} copies a number to the device"
        return function(*arguments, **keywords or {})


def draw(dtype=torch.float32, leading=()):
    return {name: torch.empty((*leading, *shape), dtype=dtype, device="meta") for name, shape in SHAPES.items()}


@every_clipper
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_clippers_stay_on_the_device_and_read_no_value(name, dtype):
    gradients, parameters, clipper = draw(dtype), draw(dtype), METHODS[name]()
    with NoCopiesOfNumbers(), OnDeviceOnly(), torch.no_grad():
        state = clipper.init(parameters)
        _, after, report = clipper(gradients, parameters, state)
        in_place = clipper.clip_in_place(gradients, parameters, state)
    assert all(value.is_meta for value in (*after.values(), *in_place.values(), *report))


@pytest.mark.parametrize("kind", [CopyingRecorder, MeasuringRecorder])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_recorders_stay_on_the_device_and_read_no_value_before_a_flush(kind, dtype):
    named = {name: nn.Parameter(tensor) for name, tensor in draw(dtype).items() if tensor.numel()}
    with NoCopiesOfNumbers(), OnDeviceOnly(), torch.no_grad():
        recorder = kind(list(named.items()), Effect.ANY)
        for step in range(3):
            for parameter in [*named.values()][step % 2 :]:  # at times one has no gradient
                parameter.grad = torch.empty_like(parameter)
            batches = [(torch.empty(5, 3, device="meta"), torch.empty(5, device="meta"))] * 2
            extremes = merge_extremes([batch_extremes(batch) for batch in batches])
            loss = mean_loss([torch.empty((), device="meta")] * 2, accumulated=3) if step else None
            recorder.record_gradients(measure_updates=step != 1)
            recorder.record_update()
            recorder.record_step(StepIndex(step + 1, 1, step), loss, extremes)
    assert recorder.pending == 3


class OnMeta(torch.optim.SGD):
    """An optimizer that does not read values on the CPU, like a fused optimizer."""

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.add_(parameter.grad, alpha=-group["lr"])


@pytest.mark.parametrize("width", [3, 300], ids=["copied", "measured"])
@pytest.mark.parametrize("method", METHODS_WATCHED)
def test_watched_steps_stay_on_the_device_and_read_no_value_before_a_flush(method, width):
    network = nn.Sequential(nn.Linear(width, width), nn.Linear(width, 1)).to("meta")
    optimizer, batch = OnMeta(network.parameters(), lr=0.1), torch.empty(4, width, device="meta")
    watched = watch(network, optimizer, make_clipper(method, **METHODS_WATCHED[method]), updates_every=2)
    with NoCopiesOfNumbers(), OnDeviceOnly():
        for _ in range(3):
            optimizer.zero_grad()
            watched.loss(network(batch).square().mean()).backward()
            optimizer.step()
    assert watched._monitor.steps == 3


@every_clipper
def test_clippers_of_stacked_replicas_stay_on_the_device(name):
    clipper, replicas = METHODS[name](), 3
    gradients = draw(leading=(replicas,))

    def clip(gradients, state):
        clipped, after = clipper.transform(gradients, gradients, state)
        return (clipped, after, clipper.skips(state, after)) if clipper.may_skip else (clipped, after)

    state = {key: value.expand(replicas, *value.shape) for key, value in clipper.init(draw()).items()}
    with OnDeviceOnly(allows_scalars=True):
        found = torch.vmap(clip)(gradients, state)
    assert all(tensor.is_meta for tensor in tree_leaves(found))
