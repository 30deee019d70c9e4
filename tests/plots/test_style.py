"""Figures are saved in the requested format, and no two series look alike."""

import pytest
from matplotlib.image import imread

from gradclip.plots.style import draw, series_style, spans_decades
from tests.plots.figures import FIGURES


def test_a_figure_is_saved_as_png(tmp_path):
    path = tmp_path / "figures" / "figure.png"
    draw(path, FIGURES["curve"])
    image = imread(path)
    assert image.shape[1] == 880
    assert image[..., :3].std() > 0.01


@pytest.mark.parametrize(("suffix", "start"), [("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_a_figure_is_saved_as_pdf_or_svg(tmp_path, suffix, start):
    path = tmp_path / f"figure.{suffix}"
    draw(path, FIGURES["curve"])
    assert path.read_bytes().startswith(start)


def test_no_two_of_many_series_look_alike():
    assert len({str(series_style(number)) for number in range(24)}) == 24


def test_only_positive_finite_values_span_decades():
    assert spans_decades([0.0, 1.0, 100.0])
    assert not spans_decades([1.0, 10.0, 0.0, float("inf"), float("nan")])
    assert not spans_decades([])


def test_negative_values_need_a_linear_axis():
    assert not spans_decades([-5.0, 1.0, 100.0])
