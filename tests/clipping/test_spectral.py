"""`spectral` caps singular values as an exact decomposition does, and leaves smaller gradients as they are."""

import numpy as np
import pytest
import torch

from gradclip import Spectral
from tests.clipping.test_contract import clip

EXACT, ITERATED = {}, {"exact": 0}
both = pytest.mark.parametrize("how", [EXACT, ITERATED], ids=["exact", "iterated"])


def matrix(rows, columns, scale=1.0):
    return torch.tensor(scale * np.random.default_rng(rows).normal(size=(rows, columns)), dtype=torch.float32)


def published(gradient, threshold):
    """Clip singular values by their definition, with NumPy's decomposition in float64."""
    left, values, right = np.linalg.svd(gradient.double().numpy(), full_matrices=False)
    return left @ np.diag(np.minimum(values, threshold)) @ right


@both
@pytest.mark.parametrize("shape", [(20, 30), (40, 7), (12, 12)])
@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
def test_equals_the_published_rule(how, shape, scale):
    gradients = {"weight": matrix(*shape, scale)}
    clipped, report = clip(Spectral(2.0, **how), gradients)
    np.testing.assert_allclose(clipped["weight"], published(gradients["weight"], 2.0), atol=1e-5 + 4e-6 * scale)
    assert report.clipped == (np.linalg.norm(gradients["weight"], 2) > 2.0)


@both
@pytest.mark.parametrize("scale", [1e4, 1e20, 1e30])
def test_singular_values_of_an_exploded_gradient_are_at_most_the_threshold(how, scale):
    clipped, _ = clip(Spectral(0.01, **how), {"weight": matrix(30, 20, scale)})
    values = np.linalg.svd(clipped["weight"], compute_uv=False)
    np.testing.assert_allclose(values, 0.01, rtol=5e-3)


def test_the_iteration_is_accurate_to_a_ten_thousandth_for_wide_spectra():
    left, right = (torch.linalg.qr(matrix(6, 6).T + shift * torch.eye(6)).Q for shift in (0, 1))
    gradient = left @ torch.diag(torch.tensor([50.0, 3.0, 1.1, 0.9, 0.01, 0.0])) @ right.T
    clipped, _ = clip(Spectral(1.0, exact=0), {"weight": gradient})
    torch.testing.assert_close(clipped["weight"], torch.tensor(published(gradient, 1.0)).float(), rtol=0, atol=1e-4)


@both
def test_gradients_within_the_threshold_are_unchanged_bit_for_bit(how):
    gradients = {"weight": matrix(20, 30, 0.01), "bias": matrix(1, 5, 0.01)[0]}
    clipped, report = clip(Spectral(1.0, **how), gradients)
    assert all(torch.equal(clipped[name], gradients[name]) for name in gradients)
    assert not report.clipped


@both
def test_a_filter_counts_as_a_row_and_a_vector_is_clipped_by_its_norm(how):
    kernel = matrix(4, 18)
    gradients = {"kernel": kernel.reshape(4, 2, 3, 3), "bias": torch.tensor([30.0, 40.0]), "one": torch.tensor(-9.0)}
    clipped, _ = clip(Spectral(1.0, **how), gradients)
    expected = torch.tensor(published(kernel, 1.0)).float().reshape(4, 2, 3, 3)
    torch.testing.assert_close(clipped["kernel"], expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(clipped["bias"], torch.tensor([0.6, 0.8]))
    assert clipped["one"] == -1.0


@both
@pytest.mark.parametrize(("bad", "rest"), [(torch.nan, torch.nan), (torch.inf, 0.0)])
def test_a_non_finite_gradient_affects_only_its_own_tensor(how, bad, rest):
    gradients = {"bad": torch.ones(3, 3), "good": torch.eye(3)}
    gradients["bad"][1, 1] = bad
    clipped, _ = clip(Spectral(1.0, **how), gradients)
    expected = torch.full((3, 3), rest)
    expected[1, 1] = torch.nan
    torch.testing.assert_close(clipped["bad"], expected, equal_nan=True)
    torch.testing.assert_close(clipped["good"], gradients["good"])


@both
@pytest.mark.parametrize("largest", [0.98, 1.02])
def test_a_gradient_is_clipped_only_if_a_singular_value_is_above_the_threshold(how, largest):
    gradient = matrix(20, 30)
    gradient *= largest / np.linalg.norm(gradient, 2)
    clipped, report = clip(Spectral(1.0, **how), {"weight": gradient})
    assert report.norm > 2.0
    assert report.clipped == (largest > 1.0) == (not torch.equal(clipped["weight"], gradient))
