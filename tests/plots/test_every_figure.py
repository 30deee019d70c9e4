"""Every figure has a title, labels and a legend, none of which overlap."""

from itertools import pairwise

import pytest
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gradclip.plots.style import STYLE, shorten_labels
from tests.plots.figures import FIGURES


@pytest.fixture(scope="module")
def drawn():
    """Return all figures, drawn once per module."""
    figures = {}
    for name, plot in FIGURES.items():
        with rc_context(STYLE):
            figures[name] = Figure((8.0, 4.5))
            plot(figures[name])
            shorten_labels(figures[name])
            FigureCanvasAgg(figures[name]).draw()
    return figures


@pytest.mark.parametrize("name", FIGURES)
def test_it_has_a_title_labels_and_a_legend_that_fit(drawn, name):
    figure = drawn[name]
    axes = figure.axes
    assert axes[0].get_title(loc="left") or figure.get_suptitle()
    assert any(part.get_xlabel() for part in axes)
    explained = figure.legends or any(part.get_legend() for part in axes) or len(axes) > 1
    assert explained or axes[0].texts or axes[0].get_yticklabels()
    drawn_area, page = figure.get_tightbbox(), figure.bbox_inches
    assert min(drawn_area.x0, drawn_area.y0) >= 0
    assert drawn_area.x1 <= page.x1
    assert drawn_area.y1 <= page.y1


@pytest.mark.parametrize("name", FIGURES)
def test_legends_below_axes_do_not_overlap_them(drawn, name):
    for legend in drawn[name].legends:
        assert legend.get_window_extent().y1 <= min(axes.bbox.y0 for axes in drawn[name].axes)


@pytest.mark.parametrize("name", FIGURES)
def test_tick_labels_do_not_overlap(drawn, name):
    for axes in drawn[name].axes:
        for axis, side in ((axes.xaxis, 0), (axes.yaxis, 1)):
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            labels = [tick.label1 for tick in ticks if low <= tick.get_loc() <= high and tick.label1.get_text()]
            if not labels or not labels[0].get_visible() or labels[0].get_rotation() % 90:
                continue
            ends = sorted(label.get_window_extent().get_points()[:, side].tolist() for label in labels)
            assert all(before[1] <= after[0] for before, after in pairwise(ends))


def test_a_power_of_ten_is_beside_the_label(drawn):
    (axes,) = drawn["predictions of a tiny target with a long name"].axes
    power = axes.xaxis.get_offset_text()
    assert power.get_text()
    assert axes.xaxis.label.get_window_extent().x1 < power.get_window_extent().x0


def test_no_figure_has_red_beside_green(drawn):
    pure = {"red", "green", "#ff0000", "#008000", "C2", "C3"}
    used = {line.get_color() for figure in drawn.values() for axes in figure.axes for line in axes.get_lines()}
    assert not {color for color in used if isinstance(color, str)} & (pure | {"#2ca02c", "#d62728"})
