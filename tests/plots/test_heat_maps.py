"""Heat maps have a common colour scale, and own colours for zero and non-finite norms."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from gradclip.plots.heat_maps import plot_hidden_states, without_common_prefix
from gradclip.plots.style import PALE, RED, draw
from tests.plots.figures import FIGURES, axes_of


@pytest.mark.parametrize(("name", "color"), [("heat map of a network that died", PALE), ("heat map, diverged", RED)])
def test_zero_and_non_finite_norms_have_their_own_colours(name, color, tmp_path):
    path = tmp_path / "figure.png"
    draw(path, FIGURES[name])
    pixels = (imread(path)[100:400, 550:700, :3] * 255).round().astype(int)  # within the last third of the steps
    wanted = [int(color[start : start + 2], 16) for start in (1, 3, 5)]
    assert (pixels == wanted).all(axis=-1).mean() > 0.9


def test_norms_before_and_after_clipping_share_a_colour_scale():
    before, after, _ = axes_of("heat map, clipped")
    assert [axes.get_title() for axes in (before, after)] == ["before clipping", "after clipping"]
    assert before.collections[0].get_clim() == after.collections[0].get_clim()
    assert len(axes_of("heat map")) == 2  # one panel and its colour bar


def test_cells_of_hidden_states_end_halfway_between_the_measured_steps():
    figure = Figure()
    plot_hidden_states(figure, np.array([1, 3, 5]), np.ones((3, 4)), "Gradient at the hidden state")
    steps = figure.axes[0].collections[0].get_coordinates()[0, :, 0]
    assert steps.tolist() == [0.5, 2.0, 4.0, 6.0]


def test_gradients_that_clipping_set_to_zero_are_grey_and_not_called_non_finite():
    assert not any(axes.texts for axes in axes_of("heat map, clipped to zero"))
    assert axes_of("heat map of zeros")[0].texts[0].get_text() == "all gradients are zero"


def test_the_colour_scale_of_an_explosion_covers_its_run_up():
    axes, _ = axes_of("heat map, diverged")
    lowest, highest = axes.collections[0].get_clim()
    assert highest - lowest > 16


def test_the_common_prefix_of_names_is_omitted():
    axes = axes_of("heat map")[0]
    assert axes.get_ylabel() == "parameter of network"
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        *("embedding.weight", "….rather.long.name.weight", "output.bias"),
    ]
    assert without_common_prefix(["weight", "bias"]) == ("", ["weight", "bias"])
    assert without_common_prefix([]) == ("", [])


def test_the_title_begins_above_the_axes():
    figure = Figure()
    FIGURES["heat map"](figure)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    (title,) = [text for text in figure.texts if text.get_text() == "Gradient norm by parameter"]
    assert abs(title.get_window_extent().x0 - axes.get_window_extent().x0) < 3
