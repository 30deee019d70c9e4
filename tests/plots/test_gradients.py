"""Figures of gradients have scales that fit the norms, and mark the thresholds that clip them."""

import numpy as np
import pytest

from tests.plots.figures import STEADY, axes_of, labels


@pytest.mark.parametrize(("name", "scale"), [("norms", "linear"), ("norms, diverged", "log")])
def test_the_axis_is_logarithmic_if_norms_span_decades(name, scale):
    assert axes_of(name)[0].get_yscale() == scale


def test_the_axis_is_logarithmic_if_the_threshold_is_decades_away():
    assert axes_of("norms far above the threshold")[0].get_yscale() == "log"
    assert axes_of("histogram of one norm far above the threshold")[0].get_xscale() == "log"


def test_norms_before_and_after_clipping_are_two_curves_only_if_they_differ():
    assert labels(axes_of("norms")[0]) == ["before and after clipping (identical)"]
    assert labels(axes_of("norms, clipped")[0]) == [
        *("before clipping", "after clipping", "clipped steps", "threshold of the norm: 2"),
    ]


def test_the_threshold_of_elements_is_drawn_with_the_largest_element():
    norm, element = axes_of("norms, elements clipped")
    wanted = ["before clipping", "after clipping", "clipped steps", "threshold of each element: 0.5"]
    assert labels(norm) == wanted
    assert [line.get_ydata()[0] for line in element.get_lines()][1:] == [0.5]
    np.testing.assert_array_equal(element.get_lines()[0].get_ydata(), STEADY)


def test_the_thresholds_of_the_norm_and_of_elements_differ_in_style():
    panels = axes_of("norms, both clipped")
    lines = [line for panel in panels for line in panel.get_lines() if line.get_label().startswith("threshold of")]
    assert [line.get_label() for line in lines] == ["threshold of the norm: 2", "threshold of each element: 0.5"]
    assert [line.get_linestyle() for line in lines] == ["--", "-."]


def test_a_scheduled_threshold_is_drawn_over_the_steps_and_not_in_the_histogram():
    (axes,) = axes_of("norms, threshold scheduled")
    *_, threshold = axes.get_lines()
    assert threshold.get_label() == "threshold of the norm: 4 to 2"
    np.testing.assert_array_equal(threshold.get_ydata(), np.linspace(4.0, 2.0, 100))
    assert not any("threshold" in label for label in labels(axes_of("histogram, threshold scheduled")[0]))


def test_the_axis_of_coefficients_is_logarithmic_if_all_are_decades_below_1():
    assert axes_of("coefficients, all near 0.01")[0].get_yscale() == "log"
    assert axes_of("coefficients")[0].get_yscale() == "linear"


def test_a_histogram_of_few_steps_has_few_bins():
    assert len(axes_of("histogram")[0].patches) == 10  # of 100 steps


def test_the_coefficient_is_shown_at_every_step_and_smoothed():
    (axes,) = axes_of("coefficients")
    every, smooth, unchanged = axes.get_lines()
    np.testing.assert_array_equal(every.get_ydata(), 1 / STEADY)
    assert np.std(smooth.get_ydata()) < np.std(1 / STEADY)
    assert list(unchanged.get_ydata()) == [1, 1]


def test_the_histogram_is_logarithmic_if_norms_span_decades_and_counts_every_finite_norm():
    for name, scale, count in [("histogram", "linear", 100), ("histogram, diverged", "log", 59)]:
        (axes,) = axes_of(name)
        assert axes.get_xscale() == scale
        assert sum(bar.get_height() for bar in axes.patches) == count


def test_the_histogram_marks_the_threshold_of_the_norm_but_not_of_elements():
    assert labels(axes_of("histogram")[0]) == [
        *(f"{percentile}th percentile: {np.percentile(STEADY, percentile):.3g}" for percentile in (50, 90, 99)),
        "threshold of the norm: 2",
    ]


@pytest.mark.parametrize("name", ["histogram, none", "coefficients, none"])
def test_a_run_without_a_finite_norm_says_so(name):
    assert axes_of(name)[0].texts[0].get_text() == "no finite gradient above zero"


def test_steps_are_whole_numbers():
    assert all(tick == round(tick) for tick in axes_of("norms of two steps")[0].get_xticks())


def test_the_legend_names_norms_of_another_state():
    assert labels(axes_of("norms with derivatives clipped")[0]) == ["with derivatives clipped"]
