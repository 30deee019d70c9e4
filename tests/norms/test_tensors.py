"""Norms equal a float64 reference for every shape, type and magnitude, also inside `torch.vmap`."""

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradclip.norms import cpu
from gradclip.norms.arrays import row_norms, row_part_norms
from gradclip.norms.tensors import (
    LARGE,
    global_norm,
    norm_of_norms,
    part_norms,
    safe_scale,
    tensor_norms,
)
from gradclip.norms.units import split_units, unit_norms

SHAPES = [(), (7,), (3, 4), (2, 3, 4), (2, 1, 3, 2)]
TYPES = [torch.float32, torch.float64, torch.bfloat16]
finite_floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
finite_arrays = arrays.arrays(np.float32, arrays.array_shapes(max_dims=4, max_side=4), elements=finite_floats)


def reference(tensors):
    """Return the global norm in float64, in which squares of float32 numbers cannot overflow."""
    return np.sqrt(sum(np.square(tensor.double().numpy()).sum() for tensor in tensors))


def draw(*shapes, dtype=torch.float32, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    return [(scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1.0, 1e20])
def test_norms_equal_the_float64_reference_for_every_shape_type_and_magnitude(dtype, scale):
    tensors = draw(*SHAPES, dtype=dtype, scale=scale)
    assert global_norm(tensors).item() == pytest.approx(reference(tensors), rel=1e-6)
    for tensor, norm in zip(tensors, tensor_norms(tensors), strict=True):
        assert norm.item() == pytest.approx(reference([tensor]), rel=1e-6)


@pytest.mark.parametrize("dtype", TYPES)
def test_norms_are_float64(dtype):
    tensors = draw((3,), (2, 2), dtype=dtype)
    assert {f(tensors).dtype for f in (global_norm, tensor_norms)} == {torch.float64}


@pytest.mark.parametrize("order", [1.0, 2.0, 3.0, torch.inf])
@pytest.mark.parametrize("size", [3, LARGE])
def test_any_order_equals_the_norm_of_the_joined_vector(order, size):
    tensors = draw((size,), (4, 5), scale=1e3)
    joined = torch.cat([tensor.double().flatten() for tensor in tensors])
    expected = torch.linalg.vector_norm(joined, order).item()
    assert global_norm(tensors, order).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_norms_of_large_tensors_equal_the_float64_reference(dtype, scale):
    tensors = draw((LARGE + 3,), dtype=dtype, scale=scale)
    assert global_norm(tensors).item() == pytest.approx(reference(tensors), rel=1e-5)


@pytest.mark.parametrize("order", [1.0, 2.0])
@pytest.mark.parametrize("sizes", [[4_000_000], [cpu.BLOCK], [4096] * 20], ids=str)
def test_the_norm_of_many_equal_elements_has_no_systematic_error(order, sizes):
    norm = global_norm([torch.full((size,), 0.1) for size in sizes], order)
    assert norm.item() == pytest.approx(0.1 * sum(sizes) ** (1 / order), rel=2e-5)


def test_float64_elements_whose_squares_overflow_have_a_finite_norm():
    assert global_norm([torch.tensor([3e200, 4e200], dtype=torch.float64)]).item() == pytest.approx(5e200)


@settings(max_examples=100)
@given(st.lists(finite_arrays, min_size=1, max_size=4))
def test_norms_of_any_finite_tensors_equal_the_float64_reference(values):
    tensors = [torch.from_numpy(value) for value in values]
    assert global_norm(tensors).item() == pytest.approx(reference(tensors), rel=1e-5, abs=1e-44)


def test_elements_near_1e20_have_a_finite_norm_although_torch_clips_them_to_zero():
    gradient = torch.tensor([3e20, -4e20])
    assert global_norm([gradient]).item() == pytest.approx(5e20)
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = gradient.clone()
    norm = torch.nn.utils.clip_grad_norm_([parameter], 1.0)
    assert torch.isinf(norm)
    assert torch.equal(parameter.grad, torch.zeros(2).copysign(gradient))


def test_a_small_tensor_beside_a_huge_one_keeps_its_norm():
    norms = tensor_norms([torch.tensor([3e-6, 4e-6]), torch.tensor([1e30])])
    assert norms.tolist() == pytest.approx([5e-6, 1e30])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[1.0, np.nan], [2.0]], np.nan),
        ([[1.0, np.inf], [2.0]], np.inf),
        ([[1.0, -np.inf], [2.0]], np.inf),
        ([[np.inf, np.nan], [2.0]], np.nan),
        ([[np.inf], [np.nan]], np.nan),
        ([[0.0, 0.0], [0.0]], 0.0),
        ([[], [2.0]], 2.0),
        ([[], []], 0.0),
        ([[3e38, 3e38]], 3e38 * 2**0.5),  # exceeds float32
        ([[1e-45, 0.0]], 1e-45),  # the smallest float32 number above zero
    ],
)
def test_norms_of_special_elements(values, expected):
    norm = global_norm([torch.tensor(value) for value in values])
    assert norm.item() == pytest.approx(expected, nan_ok=True)


def test_a_nan_affects_only_the_norm_of_its_own_tensor():
    norms = tensor_norms([torch.tensor([np.nan, 1.0]), torch.tensor([3.0, 4.0])])
    assert norms[0].isnan()
    assert norms[1] == 5.0


@pytest.mark.parametrize("context", [torch.inference_mode(), torch.device("meta")])
@pytest.mark.parametrize("large", [10, 200_000])
def test_a_cached_plan_works_in_any_mode_and_with_any_default_device(context, large):
    cpu._plan.cache_clear()
    tensors = [torch.ones(9, requires_grad=True) for _ in range(20)] + [torch.ones(large)]
    with context:
        tensor_norms(tensors)
    norms = tensor_norms(tensors)
    norms.sum().backward()
    assert norms.tolist() == pytest.approx([3.0] * 20 + [large**0.5])


def test_norms_of_no_tensors_are_zero_or_empty():
    assert global_norm([]) == 0.0
    assert tensor_norms([]).shape == unit_norms([]).shape == (0,)
    assert norm_of_norms(torch.empty(0)) == 0.0


@pytest.mark.parametrize("value", [-50.0, torch.inf, torch.nan])
@pytest.mark.parametrize("index", [0, 63, 199, 200])
def test_the_largest_element_of_many_small_tensors_and_a_large_one_is_found(value, index):
    tensors = [*draw(*[(3, 4)] * 200), *draw((5000,)), torch.zeros(0)]
    tensors[index].view(-1)[1] = value
    largest = abs(torch.tensor(value, dtype=torch.float64))
    torch.testing.assert_close(global_norm(tensors, torch.inf), largest, equal_nan=True)


@pytest.mark.parametrize(("largest", "scale"), [(0.0, 1.0), (np.inf, 1.0), (np.nan, 1.0), (3e38, 3e38), (1e-45, 1e-45)])
def test_the_safe_scale_is_the_largest_element_or_one_if_that_is_zero_or_not_finite(largest, scale):
    assert safe_scale(torch.tensor(largest)).item() == pytest.approx(scale)


def test_inputs_are_unchanged():
    tensors = draw((3, 2), (4,))
    copies = [tensor.clone() for tensor in tensors]
    global_norm(tensors)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(tensors, copies, strict=True))


def test_vmap_equals_a_loop():
    stacked = draw((5, 3, 2), (5, 4), (5,), (5, 0))
    stacked[1][2, 0] = torch.nan
    stacked[0][3] *= 1e20
    together = torch.vmap(lambda *tensors: global_norm(tensors))(*stacked)
    one_by_one = torch.stack([global_norm([tensor[i] for tensor in stacked]) for i in range(5)])
    torch.testing.assert_close(together, one_by_one, equal_nan=True)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_norms_inside_vmap_equal_norms_outside_vmap(dtype, scale):
    tensors = draw(*SHAPES, (LARGE + 1,), dtype=dtype, scale=scale)
    stacked = torch.vmap(lambda *one: tensor_norms(one))(*(tensor.expand(2, *tensor.shape) for tensor in tensors))
    torch.testing.assert_close(stacked, tensor_norms(tensors).expand(2, -1), rtol=1e-5, atol=0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_non_finite_element_of_a_large_tensor_makes_its_norm_non_finite(bad):
    tensor = torch.ones(LARGE)
    tensor[7] = bad
    np.testing.assert_equal(global_norm([tensor]).item(), bad)


ROWS = np.array([[3.0, 4.0, 12.0], [3e200, 4e200, 0.0], [3e-200, 4e-200, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, np.inf]])


def test_rows_whose_squares_overflow_or_underflow_have_accurate_norms():
    assert row_norms(ROWS) == pytest.approx([13.0, 5e200, 5e-200, 0.0, np.inf])
    assert np.isnan(row_norms(np.array([[1.0, np.nan]])))
    assert row_norms(np.empty((0, 3))).shape == (0,)


@pytest.mark.parametrize("norms", [row_part_norms, part_norms])
def test_each_part_of_a_row_has_its_own_norm(norms):
    expected = [[5.0, 12.0], [5e200, 0.0], [5e-200, 0.0], [0.0, 0.0], [1.0, np.inf]]
    rows, parts = (ROWS, [0, 2]) if norms is row_part_norms else (torch.from_numpy(ROWS), [2, 1])
    np.testing.assert_allclose(np.asarray(norms(rows, parts)), expected)


def test_a_non_finite_element_affects_only_the_norm_of_its_own_part():
    rows = np.array([[3.0, 4.0, np.nan, 1e20, np.inf]])
    for norms in (row_part_norms(rows, [0, 2, 3, 4]), part_norms(torch.from_numpy(rows), [2, 1, 1, 1])):
        np.testing.assert_allclose(np.asarray(norms), [[5.0, np.nan, 1e20, np.inf]])


def test_parts_of_float32_rows_whose_squares_overflow_have_accurate_norms():
    rows = torch.tensor([[3e30, 4e30, 1e-30]])
    torch.testing.assert_close(part_norms(rows, [2, 1]), torch.tensor([[5e30, 1e-30]], dtype=torch.float64))


@pytest.mark.parametrize(("shape", "units"), [((), ()), ((3,), (1,)), ((3, 4), (3, 1)), ((2, 3, 4), (2, 1, 1))])
def test_units_are_slices_of_the_first_dimension_or_whole_vectors(shape, units):
    (tensor,) = draw(shape, scale=1e20)
    rows = tensor.double().reshape(shape[0] if len(shape) > 1 else 1, -1)
    norms = unit_norms([tensor])
    torch.testing.assert_close(norms.double(), rows.norm(dim=1), rtol=1e-6, atol=0)
    (of_tensor,) = split_units(norms, [tensor])
    assert of_tensor.shape == units
