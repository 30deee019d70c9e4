"""Figures of predictions show each prediction or class, with names that do not overlap."""

from tests.plots.figures import STEADY, axes_of


def test_every_prediction_is_a_dot():
    (axes,) = axes_of("predictions")
    line, dots = axes.get_lines()
    assert list(line.get_xdata()) == list(line.get_ydata())
    assert len(dots.get_xdata()) == len(STEADY)


def test_each_cell_has_its_count_and_the_fraction_of_its_true_class():
    axes = axes_of("confusion")[0]
    assert [text.get_text() for text in axes.texts] == ["90", "10", "20", "80"]
    assert axes.images[0].get_array().tolist() == [[0.9, 0.1], [0.2, 0.8]]


def test_long_names_of_classes_do_not_overlap():
    axes = axes_of("confusion of classes with long names")[0]
    axes.figure.draw_without_rendering()
    assert [text.get_text() for text in axes.get_yticklabels()][:2] == ["species o…number 0", "species o…number 1"]
    assert {text.get_rotation() for text in axes.get_xticklabels()} == {45}
    assert {text.get_rotation() for text in axes_of("confusion")[0].get_xticklabels()} == {0}
