"""Figures that compare groups show every run in the colour of its group, also those that diverged."""

import pytest

from gradclip.plots.groups import LABEL_WIDTH
from gradclip.plots.style import series_style
from tests.plots.figures import LONG, axes_of, labels


def test_every_run_is_a_dot_in_the_colour_of_its_group():
    (axes,) = axes_of("scores")
    dots = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in dots] == [3, 1]
    assert [line.get_color() for line in dots] == [series_style(number).color for number in (0, 1)]
    assert [text.get_text() for text in axes.texts] == ["2 of 3 diverged", "3 of 3 diverged"]
    assert axes.get_xscale() == "log"


def test_the_long_label_of_a_row_is_broken_into_lines():
    lines = axes_of("scores")[0].get_yticklabels()[0].get_text().splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= LABEL_WIDTH


def test_a_curve_of_one_epoch_is_visible():
    (line,) = axes_of("learning curves of one epoch")[0].get_lines()
    assert line.get_marker() == "o"


def test_accuracies_are_on_a_linear_axis():
    (axes,) = axes_of("scores that are accuracies")
    assert axes.get_xscale() == "linear"
    assert axes.get_xlim() == (-0.02, pytest.approx(0.9, abs=0.05))  # neither beyond 0% nor far from the runs


def test_no_axis_of_scores_is_invented_if_every_run_diverged():
    (axes,) = axes_of("scores, all diverged")
    assert not len(axes.get_xticks())
    assert not len(axes_of("thresholds, all diverged")[0].get_yticks())
    assert len(axes_of("grid, all diverged")) == 1  # without a colour bar
    assert axes.figure.get_supxlabel() == "(no run has a finite score)"


def test_epochs_are_whole_numbers():
    assert all(tick == round(tick) for tick in axes_of("speed")[0].get_xticks())


def test_a_group_has_its_colour_in_every_figure():
    (curves,), (speed,) = axes_of("learning curves"), axes_of("speed")
    wanted = [series_style(number) for number in range(9)]
    assert [(line.get_color(), line.get_linestyle()) for line in curves.get_lines()][:6] == [
        (style.color, "-") for style in wanted[:6]
    ]
    dots = [line for line in speed.get_lines() if line.get_marker() != "None"]
    assert [line.get_color() for line in dots] == [style.color for style in wanted[:6]]


def test_groups_of_the_same_speed_do_not_hide_one_another():
    (speed,) = axes_of("speed")
    dots = [line.get_xdata()[0] for line in speed.get_lines() if line.get_marker() != "None"]
    assert len({*dots[:4]}) == 4
    assert dots[:4] == pytest.approx([4.0] * 4, abs=0.1)


def test_a_group_that_diverged_is_named_in_the_legend():
    (axes,) = axes_of("learning curves")
    assert labels(axes)[-1] == "none: diverged"


def test_a_group_that_never_reached_the_target_is_drawn_beside_the_axes():
    (axes,) = axes_of("speed")
    (beside,) = (line for line in axes.get_lines() if line.get_transform() == axes.get_yaxis_transform())
    assert min(beside.get_xdata()) > 1
    assert [*beside.get_ydata()] == [200, 300, 400]
    assert labels(axes)[-3:] == [
        *(f"{LONG[:-1]}3 (2 of 3 reached it)", "value=1.0 (0 of 3 reached it)"),
        "none: diverged (1 of 3 reached it)",
    ]
    assert [text.get_text() for text in axes.texts] == ["never"]
    assert axes.get_xlim()[1] > 1


def test_no_epochs_are_shown_if_no_group_reaches_the_target():
    (axes,) = axes_of("speed where no group reaches the target")
    assert not len(axes.get_xticks())


def test_an_exploded_norm_is_shown_as_a_number():
    (axes,) = axes_of("norm ranges")
    assert [text.get_text() for text in axes.texts] == ["up to 1e27"]
    assert axes.get_xlim()[1] < 1e3
