"""The figure of update ratios smooths them, and leaves out what was not measured."""

import numpy as np

from gradclip.plots.gradients import rolling_median
from tests.plots.figures import axes_of, labels


def test_ratios_are_smoothed_and_their_legend_is_below():
    (axes,) = axes_of("update ratios")
    assert axes.get_legend() is None
    assert labels(axes) == ["embedding.weight", "….rather.long.name.weight", "output.bias", "about 0.001 is usual"]


def test_a_parameter_without_a_ratio_has_no_line():
    (axes,) = axes_of("update ratios of a parameter that is zero")
    assert labels(axes) == ["embedding.weight", "output.bias", "about 0.001 is usual"]


def test_steps_without_a_measurement_are_omitted():
    (axes,) = axes_of("update ratios of every tenth step")
    assert [len(line.get_xdata()) for line in axes.get_lines()[:3]] == [10, 10, 10]


def test_the_title_reports_omitted_parameters():
    assert axes_of("update ratios of many parameters")[0].get_title() == "Update-to-weight ratio, the largest 6 of 9"
    assert axes_of("update ratios")[0].get_title() == "Update-to-weight ratio"


def test_skipped_steps_are_gaps_on_a_logarithmic_axis():
    (axes,) = axes_of("update ratios with skipped steps")
    scaled = axes.yaxis.get_transform().transform(np.array([0.0, 1.0]))
    assert np.isneginf(scaled[0])  # drawn to the lower edge, it would be finite
    assert scaled[1] == 0.0


def test_a_rolling_median_keeps_the_shape_and_drops_spikes():
    values = np.ones(200)
    values[100], values[50] = 1e9, np.nan
    np.testing.assert_array_equal(rolling_median(values), np.ones(200))
    assert rolling_median(np.ones((200, 2))).shape == (200, 2)
    np.testing.assert_array_equal(rolling_median(np.array([3.0, 1.0])), [3.0, 1.0])
