"""Properties of every figure."""

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


def test_no_figure_has_red_beside_green(drawn):
    pure = {"red", "green", "#ff0000", "#008000", "C2", "C3"}
    used = {line.get_color() for figure in drawn.values() for axes in figure.axes for line in axes.get_lines()}
    assert not {color for color in used if isinstance(color, str)} & (pure | {"#2ca02c", "#d62728"})
