"""Curves of a synthetic record equal those worked out by hand."""

import numpy as np
import pytest

from gradclip import keys
from gradclip.scores import ACCURACY, MSE
from gradclip.sweep.curves import curves_of
from gradclip.tracking.stored_runs import Curve
from tests.support.records import make_record

NAN = np.nan


def as_pairs(curve: Curve) -> list[tuple[int, float]]:
    return list(zip(curve.step.tolist(), curve.value.tolist(), strict=True))


@pytest.mark.parametrize(
    ("points", "norms", "peaks"),
    [
        (3, [(1, 5), (3, 2), (5, 7)], [(2, 5), (4, 9), (5, 7)]),  # steps 1 and 2, 3 and 4, and 5 alone
        (100, [(1, 5), (2, 4), (3, 2), (4, 9), (5, 7)], [(1, 5), (2, 4), (3, 2), (4, 9), (5, 7)]),
        (1, [(1, 5), (5, 7)], [(5, 9)]),
    ],
)
def test_curves_have_the_first_norm_of_each_window_and_its_peak_at_its_end(points, norms, peaks):
    record = make_record([[5], [4], [2], [9], [7]], names=("weight",))
    found = curves_of(record, MSE, {"train": [1.0], "test": [2.0]}, points)
    assert as_pairs(found[keys.GRAD_NORM]) == norms
    assert as_pairs(found[keys.GRAD_NORM_PEAK]) == peaks


def test_non_finite_values_are_omitted():
    record = make_record([[3], [NAN], [np.inf], [4]], names=("weight",), loss=[1, 2, np.inf, NAN])
    found = curves_of(record, ACCURACY, {"train": [0.5, NAN], "validation": [0.75, 1], "test": [NAN, 0.25]}, 2)
    assert as_pairs(found[keys.GRAD_NORM]) == [(1, 3), (4, 4)]
    assert as_pairs(found[keys.GRAD_NORM_PEAK]) == [(2, 3), (4, 4)]
    assert as_pairs(found[keys.LOSS_STEP]) == [(1, 1)]
    assert as_pairs(found["accuracy/train"]) == [(1, 0.5)]
    assert as_pairs(found["accuracy/validation"]) == [(1, 0.75), (2, 1)]
    assert as_pairs(found["accuracy/test"]) == [(2, 0.25)]
