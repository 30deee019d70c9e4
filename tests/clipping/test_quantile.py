"""`quantile` follows the published rule, and its threshold approaches the percentile."""

import numpy as np
import pytest

from gradclip import Quantile, Scheduled
from tests.support.clipping import clipped_norms, reports_and_states

NORMS = np.random.default_rng(0).lognormal(2, 0.5, 400)


def published(norms, percentile=50.0, rate=0.2):
    """Yield each norm after clipping, with the geometric update of the paper; the first norm is the first threshold."""
    threshold = norms[0]
    for norm in norms:
        yield min(norm, threshold)
        below = float(norm <= threshold)
        threshold *= np.exp(-rate * (below - percentile / 100))


def thresholds(clipper, norms):
    return [state["threshold"].item() for _, state in reports_and_states(clipper, norms)]


@pytest.mark.parametrize("settings", [(50.0, 0.2), (10.0, 0.05), (0.0, 1.0), (100.0, 0.2)])
def test_equals_the_published_rule(settings):
    norms = NORMS[:300]
    assert clipped_norms(Quantile(*settings), norms) == pytest.approx(list(published(norms, *settings)))


@pytest.mark.parametrize("percentile", [25.0, 50.0, 90.0])
def test_the_threshold_approaches_the_percentile(percentile):
    late = thresholds(Quantile(percentile, rate=0.1), NORMS)[100:]
    assert np.median(late) == pytest.approx(np.percentile(NORMS, percentile), rel=0.1)


def test_the_threshold_follows_changing_norms():
    norms = np.concatenate([np.ones(50), np.full(100, 1e3)])
    assert thresholds(Quantile(), norms)[-1] == pytest.approx(1e3, rel=0.3)


def test_the_threshold_starts_at_the_first_norm_above_zero():
    kept = clipped_norms(Quantile(), [0.0, 0.0, 5.0, 50.0])
    assert kept == pytest.approx([0.0, 0.0, 5.0, 5.0 * np.exp(-0.1)])


def test_a_percentile_scheduled_above_100_is_treated_as_100():
    raised = Scheduled(Quantile(50.0), start=4.0, end=4.0)
    assert thresholds(raised, NORMS[:50]) == thresholds(Quantile(100.0), NORMS[:50])
