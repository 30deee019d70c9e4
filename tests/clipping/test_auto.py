"""`auto` clips at NumPy's percentile of the norms so far."""

import numpy as np
import pytest
import torch

from gradclip import Auto, Scheduled
from gradclip.clipping.auto import _percentile
from tests.support.clipping import clipped_norms

NORMS = np.random.default_rng(0).lognormal(0, 2, 60)


@pytest.mark.parametrize("percentile", [1.0, 10.0, 50.0, 99.0, 100.0])
def test_threshold_is_numpys_percentile_of_all_norms_so_far(percentile):
    expected = [min(norm, np.percentile(NORMS[: step + 1], percentile)) for step, norm in enumerate(NORMS)]
    assert clipped_norms(Auto(percentile), NORMS) == pytest.approx(expected)


def test_a_full_history_drops_the_oldest_norm():
    expected = [min(norm, np.percentile(NORMS[max(0, step - 7) : step + 1], 25)) for step, norm in enumerate(NORMS)]
    assert clipped_norms(Auto(25.0, history=8), NORMS) == pytest.approx(expected)


def test_a_scheduled_percentile_rises_to_at_most_100():
    clipper = Scheduled(Auto(20.0), start=1.0, end=6.0, steps=10)
    percentiles = [min(20.0 + 10.0 * step, 100.0) for step in range(len(NORMS))]
    expected = [min(norm, np.percentile(NORMS[: i + 1], percentiles[i])) for i, norm in enumerate(NORMS)]
    assert clipped_norms(clipper, NORMS) == pytest.approx(expected)


@pytest.mark.parametrize(("xp", "as_array"), [(torch, torch.from_numpy), (np, np.asarray)])
def test_positions_among_a_million_norms_are_not_rounded_to_float32(xp, as_array):
    norms = np.arange(1_000_000.0)
    found = _percentile(as_array(norms), as_array(np.asarray(len(norms))), 10.0, xp)
    assert found.item() == pytest.approx(np.percentile(norms, 10), rel=1e-12)
