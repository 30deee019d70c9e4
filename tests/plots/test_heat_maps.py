"""Heat maps."""

import pytest
from matplotlib.image import imread

from gradclip.plots.heat_maps import without_common_prefix
from gradclip.plots.style import PALE, RED, draw
from tests.plots.figures import FIGURES, axes_of


@pytest.mark.parametrize(("name", "color"), [("heat map of a network that died", PALE), ("heat map, diverged", RED)])
def test_zero_and_not_finite_have_colours_of_their_own(name, color, tmp_path):
    path = tmp_path / "figure.png"
    draw(path, FIGURES[name])
    pixels = (imread(path)[100:400, 550:700, :3] * 255).round().astype(int)  # within the last third of the steps
    wanted = [int(color[start : start + 2], 16) for start in (1, 3, 5)]
    assert (pixels == wanted).all(axis=-1).mean() > 0.9


def test_norms_after_clipping_stand_beside_those_before_on_one_scale_of_colours():
    before, after, _ = axes_of("heat map, clipped")
    assert [axes.get_title() for axes in (before, after)] == ["before clipping", "after clipping"]
    assert before.collections[0].get_clim() == after.collections[0].get_clim()
    assert len(axes_of("heat map")) == 2  # with its bar of colours


def test_what_all_names_begin_with_is_left_out():
    axes = axes_of("heat map")[0]
    assert axes.get_ylabel() == "parameter of network"
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        *("embedding.weight", "….rather.long.name.weight", "output.bias"),
    ]
    assert without_common_prefix(["weight", "bias"]) == ("", ["weight", "bias"])
    assert without_common_prefix([]) == ("", [])
