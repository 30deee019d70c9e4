"""Figures of scores by threshold, or by two settings, show every run and label what diverged."""

import re

from gradclip.plots.style import GREY, draw, series_style
from gradclip.plots.thresholds import line_marker, line_style
from tests.plots.figures import FIGURES, axes_of, labels


def test_every_run_is_a_dot_and_the_edge_is_marked():
    axes, diverged = axes_of("thresholds")
    dots = [line for line in axes.get_lines() if line.get_linestyle() == "None" and line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in dots] == [3, 3, 1]
    assert [line.get_color() for line in dots] == [series_style(number).color for number in (2, 1, 0)]
    assert "best group, at the edge of the thresholds tried" in labels(axes)
    assert list(diverged.get_lines()[0].get_ydata()) == [0.0, 0.0, 2 / 3]


def test_thresholds_that_were_tried_are_the_ticks_of_a_logarithmic_axis():
    axes, diverged = axes_of("thresholds")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in diverged.get_xticklabels()] == ["0.1", "1", "10"]


def test_no_two_of_many_methods_look_alike():
    assert len({(str(line_style(index)), line_marker(index)) for index in range(16)}) == 16


def test_groups_without_clipping_differ_in_style(tmp_path):
    draw(path := tmp_path / "thresholds.svg", FIGURES["thresholds, several without clipping"])
    grey = f"stroke: {GREY.lower()}"
    drawn = [style for style in re.findall(r'style="([^"]+)"', path.read_text()) if grey in style]
    assert len({re.search(r"stroke-dasharray: ([^;]+)", style)[1] for style in drawn if "dasharray" in style}) == 2


def test_accuracies_fill_the_axis():
    axes = axes_of("thresholds of accuracies")[0]
    low, high = axes.get_ylim()
    assert axes.get_yscale() == "linear"
    assert 0.9 < low < 0.91
    assert 0.98 < high < 0.99


def test_cells_of_the_grid_that_diverged_or_have_no_run_are_labelled():
    axes = axes_of("grid")[0]
    assert [text.get_text() for text in axes.texts] == ["1.00", "100", "diverged", "no run"]
