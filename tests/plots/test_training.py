"""Learning curves show the given values, end at the last finite one and mark a divergence."""

import numpy as np
import pytest

from tests.plots.figures import EXPLODING, STEPS, axes_of, labels

DIVERGED = "diverged in epoch 4, at step 60, first in the gradient network.0.weight"


@pytest.mark.parametrize(
    ("name", "scale"),
    [("curve", "linear"), ("curve over decades", "log"), ("curve, diverged", "log"), ("losses", "log")],
)
def test_the_axis_is_logarithmic_if_values_span_decades(name, scale):
    assert axes_of(name)[0].get_yscale() == scale


def test_an_accuracy_has_a_linear_axis_from_0_to_1():
    (axes,) = axes_of("curve of an accuracy")
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim() == (-0.02, 1.02)
    assert labels(axes)[0] == "baseline that ignores the inputs: 25.0%"


def drawn(line):
    """Return the points that Matplotlib draws, which are the finite ones."""
    heights = line.get_ydata()
    return np.where(np.isfinite(heights), heights, np.nan)


def test_curves_show_the_given_values_and_end_at_the_last_finite_point():
    (axes,) = axes_of("curve, diverged")
    train, test = axes.get_lines()[1:3]
    np.testing.assert_array_equal(train.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_array_equal(drawn(train), [9.0, 1e9, 1e30, np.nan])
    np.testing.assert_array_equal(drawn(test), [9.0, 1e9, np.nan, np.nan])


def test_losses_end_at_the_first_non_finite_one_which_is_marked():
    (axes,) = axes_of("losses")
    loss, broken, line = axes.get_lines()
    np.testing.assert_array_equal(drawn(loss), np.where(STEPS < 60, EXPLODING, np.nan))
    assert list(broken.get_xdata()) == [*range(60, 101)]
    assert labels(axes) == ["loss", "loss not finite", DIVERGED]
    assert list(line.get_xdata()) == [60, 60]


def test_the_end_of_a_diverged_run_is_marked_and_explained():
    (axes,) = axes_of("curve, diverged")
    assert list(axes.get_lines()[labels(axes).index(DIVERGED)].get_xdata()) == [4, 4]


@pytest.mark.parametrize(("name", "text"), [("curve, none", "no finite score"), ("losses, none", DIVERGED)])
def test_a_run_without_a_finite_point_says_so(name, text):
    (axes,) = axes_of(name)
    assert axes.texts[0].get_text() == text


def test_epochs_are_whole_numbers():
    assert all(tick == round(tick) for tick in axes_of("curve of one epoch")[0].get_xticks())
