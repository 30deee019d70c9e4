"""A Triton kernel gives the norms of torch; it is tested only with Triton, on a GPU or interpreted on a CPU."""

from importlib.metadata import version
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest
import torch
from packaging.version import Version
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gradclip.clipping.adaptive import Adaptive
from gradclip.norms import gpu, gpu_plans, units
from gradclip.norms.gpu import Measures, can_measure, measure
from gradclip.norms.gpu_plans import UNITS, WHOLE, Plan
from gradclip.norms.tensors import change_norms, tensor_norms
from gradclip.telemetry import measures
from gradclip.telemetry.recorders import MeasuringRecorder
from gradclip.telemetry.rescaled import GradientVersions
from gradclip.telemetry.steps import Effect, StepIndex

BLOCK = WHOLE.block
MATRICES = [(5,), (7, 2, 384), (3, UNITS.block), (2, 0), (2, 3 * UNITS.block + 5), (0, 3), (4, 1), ()]
SIZES = (5, 0, BLOCK, BLOCK + 1, 3 * BLOCK - 1, WHOLE.chunk)
INFINITE = torch.tensor([[1.0, torch.nan], [-torch.inf, 2.0], [torch.inf, torch.nan]])
HAS_TRITON = find_spec("triton") is not None and (
    torch.cuda.is_available() or Version(version("triton")) >= Version("3.6")
)
needs_triton = pytest.mark.skipif(not HAS_TRITON, reason="needs Triton on a GPU, or 3.6 to interpret on a CPU")


class OwnTensor(torch.Tensor):
    """A tensor subclass whose memory a kernel must not read, like torch's fake and distributed tensors."""


def draw(*shapes, dtype=torch.float32, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    return [(scale * torch.randn(shape, generator=generator)).to(dtype) for shape in shapes]


def reference(tensors, minus=None):
    """Return the measures of each tensor by torch operations in float64."""
    wide = [tensor.double().cpu() for tensor in tensors]
    if minus is not None:
        wide = [tensor - other.double().cpu() for tensor, other in zip(wide, minus, strict=True)]
    largest = [tensor.abs().max() if tensor.numel() else torch.zeros(()) for tensor in wide]
    nonfinite = [tensor.isfinite().logical_not().sum() for tensor in wide]
    columns = ([tensor.norm() for tensor in wide], largest, nonfinite)
    return Measures(*(torch.stack(column).double() for column in columns))


def wide_unit_norms(tensors):
    return torch.cat([units._wide_unit_norms(tensor.cpu()) for tensor in tensors])


def products(tensors, others):
    pairs = zip(tensors, others, strict=True)
    return torch.stack([(tensor.double() * other.double()).sum() for tensor, other in pairs])


TENSORS = {
    "blocks": draw(*SIZES, (), (3, 4)),
    "huge": [*draw((5,), scale=1e20), torch.full((3000,), 3e38)],
    "vanishing": [*draw((5,), scale=1e-30), torch.tensor([1e-45])],
    "not finite": [*INFINITE, *draw(BLOCK)],
    "strides": [*(tensor.mT for tensor in draw((6, 5), (2, 3, 4))), *draw((9, 9))[0][:, ::2].split(3)],
    "repeated": [torch.ones(3, 1).expand(3, 7)],
    "not aligned": [draw(BLOCK + 1)[0][1:]],
    "bfloat16": draw(5, BLOCK + 1, (7, 9), dtype=torch.bfloat16),
    "float16": draw(5, BLOCK + 1, (7, 9), dtype=torch.float16),
    "types": [draw(3 + index, dtype=dtype)[0] for index, dtype in enumerate([*gpu.NARROW, *gpu.NARROW])],
}


@pytest.fixture
def device():
    """Return a GPU, or else the CPU, on which Triton interprets kernels (see conftest.py)."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def same(found, expected, rtol=1e-12):
    torch.testing.assert_close(found.cpu(), expected, rtol=rtol, atol=0, equal_nan=True)


@needs_triton
@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # from NumPy, which Triton's interpreter uses
def test_the_kernel_measures_each_tensor(kind, device):
    tensors = [tensor.to(device) for tensor in TENSORS[kind]]
    others = [torch.randn_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors]
    for found, expected in zip(measure(tensors), reference(tensors), strict=True):
        same(found, expected)
    same(gpu.change_norms(tensors, others), reference(tensors, others).norms)
    same(gpu.inner_products(tensors, others), products(tensors, others).cpu(), rtol=1e-9)
    same(gpu.unit_norms(tensors), wide_unit_norms(tensors))


@needs_triton
@pytest.mark.parametrize("kind", ["blocks", "not finite", "strides", "types"])
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_the_kernel_multiplies_each_unit_in_place(kind, device):
    tensors = [tensor.clone().to(device) for tensor in TENSORS[kind]]
    factors = (0.1 + torch.rand_like(gpu.unit_norms(tensors))).clamp(max=1.0)
    pairs = zip(tensors, units.split_units(factors, tensors), strict=True)
    expected = [(tensor.double() * factor).to(tensor.dtype) for tensor, factor in pairs]
    parameters = [nn.Parameter(torch.empty_like(tensor)) for tensor in tensors]
    for parameter, tensor in zip(parameters, tensors, strict=True):
        parameter.grad = tensor
    before = GradientVersions(parameters)
    gpu.multiply_units(tensors, factors)
    torch.testing.assert_close(tensors, expected, equal_nan=True)
    assert before.count_changes(parameters) != 0


@pytest.mark.parametrize("launch", [WHOLE, UNITS])
@pytest.mark.parametrize("shapes", [[(size,) for size in SIZES], MATRICES])
def test_a_plan_covers_each_element_once(launch, shapes):
    tensors = [torch.empty(shape) for shape in shapes]
    plan = gpu_plans.plan_blocks(tensors, launch)
    owners, starts, lengths, units = plan.blocks.numpy()
    seen = [np.zeros(tensor.numel(), dtype=int) for tensor in tensors]
    for owner, start, length in zip(owners, starts, lengths, strict=True):
        seen[owner][start : start + length] += 1
    assert all((counts == 1).all() for counts in seen)
    assert max(lengths) <= launch.block
    assert plan.divisor == np.gcd.reduce(starts)
    counts = [shape[0] if launch is UNITS and len(shape) > 1 else 1 for shape in shapes]
    expected = [tensor.numel() // count for tensor, count in zip(tensors, counts, strict=True) for _ in range(count)]
    assert [lengths[first:end].sum() for first, end in pairwise(plan.firsts)] == expected
    assert [lengths[units == unit].sum() for unit in range(len(expected))] == expected


@pytest.mark.parametrize("launch", [WHOLE, UNITS])
def test_tensors_of_several_types_keep_their_order(monkeypatch, launch):
    def stand_in(tensors, launch, *_):
        columns = [tensor.double().sum() if launch is WHOLE else tensor.double().sum(1) for tensor in tensors]
        return torch.cat([column.reshape(-1) for column in columns]).expand(3, -1)

    monkeypatch.setattr(gpu, "_measure_alike", stand_in)
    tensors = [tensor.reshape(-1, 1) for tensor in TENSORS["types"]]
    assert torch.equal(gpu._measure(tensors, launch), stand_in(tensors, launch))


def in_memory_order(tensor, like, kept):
    return gpu_plans.in_memory_order([tensor], [like], kept)[0]


def test_tensors_are_read_in_the_order_of_memory():
    matrix, other = draw((3, 4), (4, 3))
    transposed = matrix.mT
    assert in_memory_order(transposed, transposed, 0).data_ptr() == matrix.data_ptr()
    assert torch.equal(in_memory_order(other, transposed, 0), other.mT)
    assert torch.equal(in_memory_order(transposed, matrix.reshape(4, 3), 0), transposed)
    assert torch.equal(in_memory_order(transposed, transposed, 1), transposed)
    assert torch.equal(in_memory_order(matrix[:, ::2], matrix[:, ::2], 0), matrix[:, ::2])


@pytest.mark.parametrize(
    ("tensors", "divisor"), [([0, 1], 4), ([0], 16), ([4], 16), ([1], 4), ([2], 8), ([], 16)], ids=str
)
def test_a_thread_reads_as_many_bytes_as_the_alignment_allows(tensors, divisor):
    memory = torch.empty(9)
    assert memory.data_ptr() % 16 == 0
    found = gpu_plans.find_memory([memory[:0], *(memory[start:] for start in tensors)])
    assert found.divisor == divisor
    assert found.addresses.tolist()[1:] == [memory.data_ptr() + 4 * start for start in tensors]
    plan = Plan(1024, *torch.empty(2, 4))
    size = 16 if divisor == 16 else 4
    assert gpu_plans.read_sizes(torch.float32, plan, found) == {"BYTES": size, "STEP": size // 4}
    assert gpu_plans.read_sizes(torch.float32, plan._replace(divisor=6), found) == {"BYTES": 4, "STEP": 1}


@pytest.fixture
def kernel(monkeypatch):
    """Replace the kernel by operations on the CPU, and return the list of its calls."""
    calls = []

    def counted(function):
        def stand_in(*tensors):
            calls.append(function)
            return function(*tensors)

        return stand_in

    def is_narrow(*tensors):
        return {tensor.dtype for some in tensors for tensor in some} <= {*gpu.NARROW}

    monkeypatch.setattr(gpu, "can_measure", is_narrow)
    monkeypatch.setattr(gpu, "measure", counted(reference))
    monkeypatch.setattr(gpu, "change_norms", counted(lambda *pairs: reference(*pairs).norms))
    monkeypatch.setattr(gpu, "inner_products", counted(products))
    monkeypatch.setattr(gpu, "is_quicker", is_narrow)
    monkeypatch.setattr(units, "are_narrow_on_cpu", lambda _: False)
    monkeypatch.setattr(gpu, "can_measure_units", is_narrow)
    monkeypatch.setattr(gpu, "unit_norms", counted(wide_unit_norms))
    return calls


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norms_and_telemetry_are_the_same_with_the_kernel(kernel, dtype):
    tensors, before = draw(*SIZES, dtype=dtype), draw(*SIZES, dtype=dtype, scale=2.0)
    tensors[2][7] = torch.nan
    expected = reference(tensors)
    found = measures.measure_gradients(tensors)
    np.testing.assert_allclose(found[0], expected.norms)
    np.testing.assert_equal(found[1].item(), np.nan)
    np.testing.assert_array_equal(found[2], expected.nonfinite)
    np.testing.assert_allclose(tensor_norms(tensors), expected.norms)
    np.testing.assert_allclose(tensor_norms(tensors, torch.inf), expected.largest)
    np.testing.assert_allclose(change_norms(tensors, before), reference(tensors, before).norms)
    same(measures.inner_product(tensors[3:], before[3:]), products(tensors[3:], before[3:]).sum())
    found = units.unit_norms([tensors[3].view(-1, 5)])
    same(found, tensors[3].view(-1, 5).double().norm(dim=1))
    assert len(kernel) == (6 if dtype == torch.float32 else 0)


@pytest.mark.parametrize("exclude", [None, "2"])
def test_units_are_clipped_in_place_by_the_kernel(monkeypatch, exclude):
    def multiply(tensors, factors):
        for tensor, factor in zip(tensors, units.split_units(factors, tensors), strict=True):
            tensor.mul_(factor)

    tensors = draw((5, 3), (4,), (2, 3, 4), (), dtype=torch.bfloat16)
    gradients = {str(index): tensor for index, tensor in enumerate(tensors)}
    weights = {name: nn.Parameter(tensor**2) for name, tensor in gradients.items()}
    clipper = Adaptive(0.01, exclude=exclude)
    expected = clipper.transform(gradients, weights, {})[0]
    monkeypatch.setattr(gpu, "can_measure_units", lambda _: True)
    monkeypatch.setattr(gpu, "unit_norms", wide_unit_norms)
    monkeypatch.setattr(gpu, "multiply_units", multiply)
    with torch.no_grad():
        assert clipper.clip_in_place(gradients, weights, {}) == {}
    torch.testing.assert_close(gradients, expected)


class Launches(TorchDispatchMode):
    """Counts the operations that a device runs."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        self.count += not (operation.is_view or "empty" in operation.name() or "detach" in operation.name())
        return operation(*arguments, **keywords or {})


def launches_of_a_step(tensors):
    """Count the launches of a monitored step that also measures weights, except the launches of our kernel."""
    parameters = [nn.Parameter(torch.empty(3, device="meta")) for _ in range(tensors)]
    recorder = MeasuringRecorder([(str(index), one) for index, one in enumerate(parameters)], Effect.ANY)
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)
    with Launches() as seen:
        recorder.record_gradients(measure_updates=True)
        recorder.record_step(StepIndex(1, 1, 0), torch.empty((), device="meta"), [])
    return seen.count


def test_the_launches_of_a_monitored_step_do_not_grow_with_the_number_of_tensors(monkeypatch):
    for name in ("is_quicker", "can_measure"):
        monkeypatch.setattr(gpu, name, lambda *_: True)
    measured = torch.empty(3, 30, device="meta")
    monkeypatch.setattr(gpu, "_measure_alike", lambda tensors, *_: measured[:, : len(tensors)])
    assert launches_of_a_step(3) == launches_of_a_step(30) < 20


@pytest.mark.parametrize("order", [1, 2, torch.inf])
def test_torch_measures_all_tensors_of_a_device_together(order):
    with Launches() as seen:
        tensor_norms([torch.empty(3, device="meta")] * 30, order)
    assert seen.count <= 3


def test_only_ordinary_tensors_of_a_cuda_device_are_measured_by_the_kernel():
    assert not can_measure([])
    assert not can_measure([torch.ones(3)])
    ordinary = torch.ones(3)
    assert gpu._are_ordinary([ordinary, nn.Parameter(ordinary).detach()])
    assert not gpu._are_ordinary([ordinary, nn.Parameter(ordinary)])
    with torch.no_grad():
        assert gpu._are_ordinary([ordinary, nn.Parameter(ordinary)])
    imaginary = torch.ones(3, dtype=torch.complex64).conj().imag
    others = (ordinary.double(), ordinary.to_sparse(), imaginary, ordinary.as_subclass(OwnTensor))
    for other in others:
        assert not gpu._are_ordinary([ordinary, other])
    seen = []
    torch.vmap(lambda row: [seen.append(gpu._are_ordinary([row])), row][1])(torch.ones(2, 3))
    assert seen == [False]


def test_a_failure_of_triton_to_compile_causes_one_warning(monkeypatch):
    def fail(*_):
        raise RuntimeError("no C compiler\nand more")

    monkeypatch.setattr(gpu, "_measure_alike", fail)
    monkeypatch.setattr(gpu, "find_spec", lambda name: name)
    gpu._has_kernel.cache_clear()
    with pytest.warns(UserWarning, match="Triton does not work here: RuntimeError: no C compiler$") as caught:
        assert [gpu._has_kernel(torch.device("cpu")) for _ in range(2)] == [False, False]
    gpu._has_kernel.cache_clear()
    assert len(caught) == 1
