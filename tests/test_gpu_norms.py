"""What surrounds the kernel is tested anywhere; the kernel itself where Triton is, on a GPU or else interpreted."""

from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from gradclip import gpu_norms, norms
from gradclip.gpu_norms import BLOCK, CHUNK, Measures, can_measure, measure
from gradclip.telemetry import measures

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SIZES = (5, 0, BLOCK, BLOCK + 1, 3 * BLOCK - 1, CHUNK)
INFINITE = torch.tensor([[1.0, torch.nan], [-torch.inf, 2.0], [torch.inf, torch.nan]])
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton comes with torch for CUDA")


class OwnTensor(torch.Tensor):
    """A tensor whose memory may be anything, as that of torch's fake and distributed ones."""


def draw(*shapes, dtype=torch.float32, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    return [(scale * torch.randn(shape, generator=generator)).to(dtype) for shape in shapes]


def reference(tensors, minus=None):
    """The measures of tensors by operations of each one, in float64."""
    wide = [tensor.double().cpu() for tensor in tensors]
    if minus is not None:
        wide = [tensor - other.double().cpu() for tensor, other in zip(wide, minus, strict=True)]
    largest = [tensor.abs().max() if tensor.numel() else torch.zeros(()) for tensor in wide]
    nonfinite = [tensor.isfinite().logical_not().sum() for tensor in wide]
    columns = ([tensor.norm() for tensor in wide], largest, nonfinite)
    return Measures(*(torch.stack(column).double() for column in columns))


TENSORS = {
    "blocks": draw(*SIZES, (), (3, 4)),
    "huge": [*draw((5,), scale=1e20), torch.full((3000,), 3e38)],
    "vanishing": [*draw((5,), scale=1e-30), torch.tensor([1e-45])],
    "not finite": [*INFINITE, *draw(BLOCK)],
    "strides": [*(tensor.mT for tensor in draw((30, 50), (2, 3, 4))), *draw((9, 9))[0][:, ::2].split(3)],
    "repeated": [torch.ones(3, 1).expand(3, 7)],
    "not aligned": [draw(BLOCK + 1)[0][1:]],
    "bfloat16": draw(*SIZES, (7, 9), dtype=torch.bfloat16),
    "float16": draw(*SIZES, dtype=torch.float16),
    "types": [draw(3 + place, dtype=dtype)[0] for place, dtype in enumerate([*gpu_norms.TYPES, *gpu_norms.TYPES])],
}


@needs_triton
@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # of NumPy, with which Triton interprets
def test_the_kernel_measures_each_tensor(kind, monkeypatch):
    if DEVICE.type == "cpu":
        monkeypatch.setenv("TRITON_INTERPRET", "1")  # read when the kernels are imported
    tensors = [tensor.to(DEVICE) for tensor in TENSORS[kind]]
    others = [torch.randn_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors]
    found, changes = measure(tensors), measure(tensors, minus=others)
    for one, expected in zip(found, reference(tensors), strict=True):
        torch.testing.assert_close(one.cpu(), expected, rtol=1e-12, atol=0, equal_nan=True)
    expected = reference(tensors, others).norms
    torch.testing.assert_close(changes.norms.cpu(), expected, rtol=1e-12, atol=0, equal_nan=True)


def test_a_plan_covers_each_element_once():
    owners, starts, lengths, firsts = (column.numpy() for column in gpu_norms._plan(SIZES, torch.device("cpu"), 0))
    seen = [np.zeros(size, dtype=int) for size in SIZES]
    for owner, start, length in zip(owners, starts, lengths, strict=True):
        seen[owner][start : start + length] += 1
    assert all((counts == 1).all() for counts in seen)
    assert [len(set(owners[first:end])) for first, end in pairwise(firsts)] == [1, 0, 1, 1, 1, 1]
    assert max(lengths) == BLOCK


def test_tensors_of_several_types_keep_their_order(monkeypatch):
    monkeypatch.setattr(gpu_norms, "_measure_alike", lambda tensors, _: torch.stack([*reference(tensors)]))
    tensors = TENSORS["types"]
    for found, expected in zip(measure(tensors), reference(tensors), strict=True):
        assert torch.equal(found, expected)


def test_what_is_read_is_in_the_order_of_memory():
    matrix, other = draw((3, 4), (4, 3))
    transposed = matrix.mT
    assert gpu_norms._in_memory_order(transposed, transposed).data_ptr() == matrix.data_ptr()
    assert torch.equal(gpu_norms._in_memory_order(other, transposed), other.mT)
    assert torch.equal(gpu_norms._in_memory_order(matrix[:, ::2], matrix[:, ::2]), matrix[:, ::2])


@pytest.fixture
def kernel(monkeypatch):
    """Counts calls of the kernel, for which a CPU stands in."""
    calls = []

    def stand_in(tensors, minus=None):
        calls.append(len(tensors))
        return reference(tensors, minus)

    def is_narrow(tensors):
        return {tensor.dtype for tensor in tensors} <= {*gpu_norms.TYPES}

    for module in (norms, measures):
        monkeypatch.setattr(module, "can_measure", is_narrow)
        monkeypatch.setattr(module, "measure", stand_in)
    return calls


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norms_and_telemetry_are_the_same_by_the_kernel(kernel, dtype):
    tensors, before = draw(*SIZES, dtype=dtype), draw(*SIZES, dtype=dtype, scale=2.0)
    tensors[2][7] = torch.nan
    expected = reference(tensors)
    found = measures.measure_gradients(tensors)
    np.testing.assert_allclose(found[0], expected.norms)
    np.testing.assert_equal(found[1].item(), np.nan)
    np.testing.assert_array_equal(found[2], expected.nonfinite)
    np.testing.assert_allclose(norms.tensor_norms(tensors), expected.norms)
    np.testing.assert_allclose(norms.tensor_norms(tensors, torch.inf), expected.largest)
    np.testing.assert_allclose(norms.change_norms(tensors, before), reference(tensors, before).norms)
    assert len(kernel) == (4 if dtype == torch.float32 else 0)


def test_only_ordinary_tensors_of_a_cuda_device_are_measured_by_the_kernel():
    assert not can_measure([])
    assert not can_measure([torch.ones(3)])
    ordinary = torch.ones(3)
    assert gpu_norms._is_ordinary(nn.Parameter(ordinary), records=False)
    assert not gpu_norms._is_ordinary(nn.Parameter(ordinary), records=True)
    assert not gpu_norms._is_ordinary(ordinary.double(), records=False)
    assert not gpu_norms._is_ordinary(ordinary.to_sparse(), records=False)
    assert not gpu_norms._is_ordinary(ordinary.as_subclass(OwnTensor), records=False)
    seen = []
    torch.vmap(lambda row: [seen.append(gpu_norms._is_ordinary(row, records=False)), row][1])(torch.ones(2, 3))
    assert seen == [False]


def test_a_machine_on_which_triton_cannot_compile_is_warned_of_once(monkeypatch):
    def fail(_):
        raise RuntimeError("no C compiler\nand more")

    monkeypatch.setattr(gpu_norms, "_measure_alike", fail)
    monkeypatch.setattr(gpu_norms, "find_spec", lambda name: name)
    gpu_norms._has_kernel.cache_clear()
    with pytest.warns(UserWarning, match="Triton does not work here: RuntimeError: no C compiler$") as caught:
        assert [gpu_norms._has_kernel(torch.device("cpu")) for _ in range(2)] == [False, False]
    gpu_norms._has_kernel.cache_clear()
    assert len(caught) == 1
