"""`zscore` follows the published rule of ZClip, and its averages ignore non-finite norms."""

import numpy as np
import pytest

from gradclip import ZScore
from tests.support.clipping import clipped_norms

random = np.random.default_rng(0)
NORMS = random.lognormal(0, 0.1, 200)
NORMS[[40, 90, 91, 150]] *= [8, 30, 1e6, 1e25]


def published(norms, limit=2.5, alpha=0.97, warmup=25, eps=1e-6):
    """Yield the norms after clipping by the authors' rule, without their fixed limit."""
    mean = variance = None
    for step, norm in enumerate(norms):
        if step < warmup:
            yield norm
            if step == warmup - 1:
                mean, variance = np.mean(norms[:warmup]), np.var(norms[:warmup])
            continue
        deviation = variance**0.5
        score = (norm - mean) / (deviation + eps)
        kept = mean + limit * deviation / (score / limit) if score > limit else norm
        yield kept
        mean = alpha * mean + (1 - alpha) * kept
        variance = alpha * variance + (1 - alpha) * (kept - mean) ** 2


@pytest.mark.parametrize("settings", [(2.5, 0.97, 25), (1.0, 0.9, 5), (4.0, 0.99, 50)])
def test_equals_the_published_rule(settings):
    expected = list(published(NORMS, *settings))
    assert np.less(expected, NORMS).sum() >= 3
    assert clipped_norms(ZScore(*settings), NORMS) == pytest.approx(expected)


def test_norms_have_no_fixed_limit():
    assert clipped_norms(ZScore(), 1e6 * NORMS[:30]) == pytest.approx(1e6 * NORMS[:30])


def test_norms_can_be_limited_during_warm_up():
    kept = clipped_norms(ZScore(warmup=3, warmup_norm=2.0), [1.0, 5.0, 3.0])
    assert kept == pytest.approx([1.0, 2.0, 2.0])


def test_the_averages_start_from_the_norms_before_the_limit_of_the_warm_up():
    kept = clipped_norms(ZScore(warmup_norm=0.5), NORMS)
    assert kept[:25] == pytest.approx([0.5] * 25)
    assert kept[25:] == pytest.approx(list(published(NORMS))[25:])
