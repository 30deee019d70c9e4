"""The figure of a search has a panel for each setting, and a colour for each number of seeds."""

from tests.plots.figures import SETTINGS, axes_of, labels


def test_each_setting_has_a_panel_on_the_scale_of_its_range():
    top, *panels = axes_of("search")
    assert [axes.get_xlabel() for axes in panels] == [setting.name for setting in SETTINGS]
    assert [axes.get_xscale() for axes in panels] == ["log", "linear", "linear", "linear"]
    assert top.get_yscale() == "log"
    assert [text.get_text() for text in panels[1].get_xticklabels()] == ["norm", "value"]


def test_the_rungs_of_halving_have_different_colours():
    top = axes_of("search")[0]
    assert labels(top) == ["2 of 6 seeds", "all 6 seeds", "diverged", "best", "best so far"]
    few, many = top.get_lines()[:2]
    assert (len(few.get_xdata()), len(many.get_xdata())) == (2, 1)
    assert few.get_color() != many.get_color()
