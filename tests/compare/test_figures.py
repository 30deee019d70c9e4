"""The legend of a figure with many lines."""

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gradclip.compare.figure_data import LearningBand
from gradclip.compare.figures import plot_learning_curves
from gradclip.plots import STYLE


@pytest.mark.parametrize("label", ["norm", "a group of many settings: norm"])
def test_the_legend_of_many_lines_is_below_them(label):
    epochs = np.arange(1, 4)
    bands = [LearningBand(f"{label}={number}", epochs, np.full((3, 3), 1.0 + number)) for number in range(8)]
    with rc_context(STYLE):
        figure = Figure((8.0, 4.5))
        plot_learning_curves(figure, bands, "mse/test")
        FigureCanvasAgg(figure).draw()
    (axes,), (legend,) = figure.axes, figure.legends
    box = legend.get_window_extent()
    assert len(legend.get_texts()) == len(bands)
    assert box.y1 <= axes.get_tightbbox().y0
    assert figure.bbox.contains(box.x0, box.y0)
    assert figure.bbox.contains(box.x1, box.y1)
