"""A record derives norms, clip fraction, divergence and tables from its steps."""

from time import process_time

import numpy as np
import pytest

from gradclip import keys
from gradclip.telemetry.divergence import Divergence
from gradclip.telemetry.record import GradientRecord
from tests.support.records import make_record

NAMES = ("weight", "bias")


def test_global_norms_and_coefficients_are_computed_for_each_step():
    record = make_record([[3, 4], [0, 0], [6, 8]], norms_clipped=[[0.6, 0.8], [0, 0], [6, 8]])
    assert record.norm.tolist() == [5.0, 0.0, 10.0]
    assert record.norm_clipped.tolist() == pytest.approx([1.0, 0.0, 10.0])
    assert record.coefficient.tolist() == pytest.approx([0.2, 1.0, 1.0])  # a zero gradient is not clipped


def test_norms_near_the_float32_maximum_have_a_finite_global_norm():
    assert make_record([[3e38, 3e38]]).norm[0] == pytest.approx(3e38 * 2**0.5)


def test_norms_whose_squares_overflow_float64_have_a_finite_global_norm():
    assert make_record([[3e200, 4e200]]).norm[0] == pytest.approx(5e200)


def test_clip_fraction_counts_clipped_steps_among_the_finite_steps():
    record = make_record([[3, 4], [1, 0], [2, 0], [np.nan, 1]], norms_clipped=[[0.6, 0.8], [1, 0], [1, 0], [np.nan, 1]])
    assert record.clip_fraction == pytest.approx(2 / 3)


@pytest.mark.parametrize("norms", [np.empty((0, 2)), [[np.nan, 1]], [[np.inf, 1]]])
def test_clip_fraction_and_percentiles_are_nan_without_a_finite_step(norms):
    record = make_record(norms)
    assert np.isnan(record.clip_fraction)
    assert np.isnan(record.norm_percentile(50))


def test_percentiles_are_numpys_over_finite_norms():
    values = np.random.default_rng(0).lognormal(size=200)
    record = make_record(np.c_[[*values, np.nan, np.inf], np.zeros(202)])
    for percentile in (0, 50, 90, 99, 100):
        assert record.norm_percentile(percentile) == pytest.approx(np.percentile(values, percentile))


def test_a_finite_record_has_not_diverged():
    assert make_record([[1, 2], [3e38, 4]]).divergence is None
    assert make_record(np.empty((0, 2))).divergence is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("where", "place"),
    [
        (["loss"], "loss"),
        (["weights"], "weight bias"),
        (["norms_clipped", "weights"], "gradient bias"),
        (["norms", "norms_clipped", "weights"], "gradient bias"),
        (["loss", "norms", "norms_clipped", "weights"], "loss"),  # order within a step: loss, gradient, weight
    ],
)
def test_divergence_names_step_epoch_and_place_of_the_first_non_finite_number(bad, where, place):
    record = make_record(np.ones((6, 2)))
    for field in where:
        values = getattr(record, field)
        values[(3, 1) if values.ndim == 2 else 3] = bad
        values[4:] = bad
    assert record.divergence == Divergence(step=4, epoch=2, place=place)


def test_a_non_finite_gradient_that_reaches_no_weight_is_not_a_divergence():
    skipped = make_record(
        [[1, 1], [np.nan, 1], [1, 1]],
        norms_clipped=[[1, 1], [0, 0], [1, 1]],
        loss=[1, np.nan, 1],
        skipped=[False, True, False],
    )
    clipped = make_record([[1, 1], [np.inf, 1], [1, 1]], norms_clipped=[[1, 1], [5, 1], [1, 1]])
    skipped_by_a_loss_scaler = make_record([[1, 1], [np.inf, 1], [1, 1]])
    assert [record.divergence for record in (skipped, clipped, skipped_by_a_loss_scaler)] == [None] * 3


def test_a_non_finite_loss_whose_gradient_an_overflow_zeroed_is_a_divergence():
    zeroed = make_record([[1, 1], [1e30, 1], [1, 1]], norms_clipped=[[1, 1], [0, 0], [1, 1]], loss=[1, np.inf, 1])
    assert zeroed.divergence == Divergence(2, 1, "loss")


@pytest.mark.parametrize(
    ("huge_from", "updates", "weights", "step"),
    [
        (1, [1, 1, 0, np.nan, 0, 0], [1, 2, 2, 2, 2, 2], 3),
        (1, [1, 1, 0, 0, 0, 0], [1, 2, 3, 3, 3, 3], 4),  # its norm still changes in step 3
        (1, [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], 1),
        (3, [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], None),  # it never moved
        (1, [1, 1, 0, 0, 0, 1], [1, 2, 2, 2, 2, 3], None),  # it moves again
        (1, [1, 1, 0, np.nan, np.nan, np.nan], [1, 2, 2, 2, 2, 2], None),  # no later update is measured
    ],
)
def test_a_parameter_that_stops_moving_after_a_huge_gradient_is_a_divergence(huge_from, updates, weights, step):
    columns = {"updates": np.c_[np.ones(6), updates], "weights": np.c_[np.arange(6), weights]}
    norms = np.where(np.arange(1, 7) >= huge_from, 1e19, 1.0)
    record = make_record(np.c_[np.ones(6), norms], NAMES, **columns)
    expected = None if step is None else Divergence(step, (step + 1) // 2, "update bias")
    assert record.divergence == expected


def test_huge_gradients_in_every_step_are_judged_quickly():
    start = process_time()
    assert make_record(np.full((20_000, 4), 1e19), ("a", "b", "c", "d")).divergence is None
    assert process_time() - start < 2


def test_cosine_follows_from_the_inner_product_and_is_1_if_the_direction_is_kept():
    record = make_record([[3, 4], [3, 4], [1, 0]], norms_clipped=[[3, 3], [0.6, 0.8], [0, 0]])
    turned = make_record(record.norms, norms_clipped=record.norms_clipped, inner_product=[21.0, np.nan, 0.0])
    assert turned.cosine[:2] == pytest.approx([21 / (5 * 18**0.5), 1.0])
    assert np.isnan(turned.cosine[2])  # a zero gradient has no direction


def test_update_ratios_are_fractions_of_the_weights():
    record = make_record([[1, 1], [1, 1]], weights=[[2, 4], [0, 1]], updates=[[1, 1], [1, np.nan]])
    np.testing.assert_array_equal(record.update_ratios, [[0.5, 0.25], [np.inf, np.nan]])


def test_finite_gradients_zeroed_by_clipping_are_found():
    record = make_record([[1, 1], [0, 0], [np.nan, 1], [2, 2]], norms_clipped=[[0, 0]] * 4)
    assert record.zeroed.tolist() == [True, False, False, True]


def test_before_returns_the_latest_steps_before_a_step():
    record = make_record(np.arange(20).reshape(10, 2), first_step=5)
    assert record.before(9, 3).step.tolist() == [6, 7, 8]
    assert record.before(9, 3).norms.tolist() == record.norms[1:4].tolist()
    assert record.before(6, 50).step.tolist() == [5]
    assert record.before(5, 50).step.tolist() == []


def test_a_non_finite_weight_precedes_a_later_non_finite_loss():
    record = make_record(np.ones((4, 2)), loss=[1, 1, np.nan, 1], weights=[[1, 1], [np.inf, 1], [1, 1], [1, 1]])
    assert record.divergence == Divergence(2, 1, "weight weight")


def test_join_concatenates_blocks_in_order():
    joined = GradientRecord.join(NAMES, [make_record([[1, 2], [3, 4]]), make_record([[5, 6]], first_step=3)])
    assert joined.step.tolist() == [1, 2, 3]
    assert joined.epoch.tolist() == [1, 1, 2]
    assert joined.norms.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert joined.names == NAMES


def test_join_of_no_blocks_is_an_empty_record_with_integer_steps():
    empty = GradientRecord.join(NAMES, [])
    assert empty.norms.shape == (0, 2)
    assert empty.norm.shape == (0,)
    assert np.issubdtype(empty.step.dtype, np.integer)


def test_frame_has_a_row_for_each_step_and_a_column_for_each_metric_and_tensor():
    record = make_record([[3, 4], [6, 8]], norms_clipped=[[0.6, 0.8], [6, 8]], loss=[7, 8], weights=[[1, 2], [3, 4]])
    frame = record.to_frame()
    assert list(frame.columns) == [
        *("step", "epoch", "batch"),
        *("loss/step", "grad/norm", "grad/norm_clipped", "grad/max_abs", "grad/coefficient"),
        *("learning_rate", "grad/cosine", "grad/skipped", "grad/scaler_skipped"),
        *("input/max_abs", "target/max_abs"),
        *("grad/norm/weight", "grad/norm/bias", "grad/norm_clipped/weight", "grad/norm_clipped/bias"),
        *("grad/nonfinite/weight", "grad/nonfinite/bias", "weight/norm/weight", "weight/norm/bias"),
        *("update/norm/weight", "update/norm/bias", "update/ratio/weight", "update/ratio/bias"),
    ]
    assert frame[keys.GRAD_NORM].tolist() == [5.0, 10.0]
    assert frame["grad/norm_clipped/bias"].tolist() == [0.8, 8.0]
    assert frame["weight/norm/weight"].tolist() == [1.0, 3.0]
    assert frame[keys.LOSS_STEP].tolist() == [7.0, 8.0]


def test_frame_is_unchanged_after_a_round_trip_through_parquet(tmp_path):
    import pandas as pd

    frame = make_record([[3, np.nan], [6, np.inf]]).to_frame()
    frame.to_parquet(tmp_path / "gradients.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "gradients.parquet"), frame)
