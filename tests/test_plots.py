from functools import partial

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from gradclip import plots
from gradclip.telemetry.record import Divergence

DIVERGED = Divergence(step=60, epoch=4, place="gradient network.0.weight")
STEPS = np.arange(1, 101)
random = np.random.default_rng(0)
steady = random.uniform(1.0, 3.0, 100)
exploding = np.where(STEPS < 60, 10.0 ** (STEPS / 4), np.inf)
exploding[80:] = np.nan
NAMES = ("embedding.weight", "a.parameter.with.a.rather.long.name.weight", "output.bias")
layers = random.uniform(0.5, 2.0, (100, 3)) * [0.01, 1.0, 100.0]

target = partial(plots.plot_target, train=random.normal(size=500), test=random.normal(size=400), unit="y (own unit)")
curve = partial(plots.plot_learning_curve, title="Learning curve", score="mean squared error", baseline=20.0)
norms = partial(plots.plot_norms, title="Gradient norm")
FIGURES = {
    "target": target,
    "curve": partial(curve, train=[9.0, 4.0, 3.0, 2.5], test=[10.0, 6.0, 5.0, 5.5], divergence=None),
    "curve of one epoch": partial(curve, train=[9.0], test=[10.0], divergence=None),
    "curve over decades": partial(curve, train=[9e6, 4e3, 3.0], test=[1e7, 5e3, 5.0], divergence=None),
    "curve, diverged": partial(
        curve, train=[9.0, 1e9, 1e30, np.inf], test=[9.0, 1e9, np.inf, np.nan], divergence=DIVERGED
    ),
    "norms": partial(norms, step=STEPS, norm=steady, norm_clipped=steady, thresholds={}, divergence=None),
    "norms, clipped": partial(
        norms, step=STEPS, norm=steady, norm_clipped=np.minimum(steady, 2.0), thresholds={"norm": 2.0}, divergence=None
    ),
    "norms, diverged": partial(
        norms, step=STEPS, norm=exploding, norm_clipped=exploding, thresholds={}, divergence=DIVERGED
    ),
    "heat map": partial(plots.plot_heat_map, step=STEPS, names=NAMES, norms=layers, divergence=None),
    "heat map, diverged": partial(
        plots.plot_heat_map, step=STEPS, names=NAMES, norms=layers * exploding[:, None], divergence=DIVERGED
    ),
    "heat map of a network that died": partial(
        plots.plot_heat_map,
        step=STEPS,
        names=NAMES,
        norms=layers * np.where(STEPS < 60, 1.0, 0.0)[:, None],
        divergence=None,
    ),
    "norms of two steps": partial(
        norms, step=STEPS[:2], norm=steady[:2], norm_clipped=steady[:2], thresholds={}, divergence=None
    ),
    "norms with derivatives clipped": partial(
        norms,
        step=STEPS,
        norm=steady,
        norm_clipped=steady,
        thresholds={},
        divergence=None,
        state="with derivatives clipped",
    ),
    "heat map of nothing": partial(
        plots.plot_heat_map, step=STEPS[:1], names=NAMES, norms=np.full((1, 3), np.nan), divergence=DIVERGED
    ),
    "hidden states": partial(
        plots.plot_hidden_states, step=STEPS[::10], norms=layers[::10], title="Gradient at the hidden state"
    ),
    "hidden states of one step": partial(
        plots.plot_hidden_states, step=STEPS[:1], norms=layers[:1], title="Gradient at the hidden state", layer="second"
    ),
    "hidden states, none": partial(
        plots.plot_hidden_states, step=STEPS[:2], norms=layers[:2] * np.nan, title="Gradient at the hidden state"
    ),
    "update ratios": partial(plots.plot_update_ratios, step=STEPS, names=NAMES, ratios=layers * 1e-3),
    "update ratios of every tenth step": partial(
        plots.plot_update_ratios, step=STEPS, names=NAMES, ratios=np.where(STEPS[:, None] % 10, np.nan, layers * 1e-3)
    ),
    "update ratios, none": partial(plots.plot_update_ratios, step=STEPS, names=NAMES, ratios=layers * np.nan),
    "histogram": partial(plots.plot_norm_histogram, norm=steady, thresholds={"norm": 2.0, "value": 0.5}),
    "histogram, diverged": partial(plots.plot_norm_histogram, norm=exploding, thresholds={"norm": 2.0}),
    "histogram of one norm": partial(plots.plot_norm_histogram, norm=np.ones(5), thresholds={}),
}
every_figure = pytest.mark.parametrize("name", FIGURES)


def axes_of(plot):
    figure = Figure()
    plot(figure)
    return figure.axes


def labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


@every_figure
def test_draws_to_a_png_with_something_on_it(name, tmp_path):
    path = tmp_path / "figures" / "figure.png"
    plots.draw(path, FIGURES[name])
    image = imread(path)
    assert image.shape[:2] == (495, 880)
    assert image[..., :3].std() > 0.01


@every_figure
def test_axes_have_a_title_both_labels_and_a_legend(name):
    axes = axes_of(FIGURES[name])
    assert axes[0].get_title()
    assert any(part.get_xlabel() for part in axes)
    assert axes[0].get_ylabel()
    explained = axes[0].get_legend() is not None or len(axes) > 1
    assert explained or axes[0].texts


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("curve", "linear"),
        ("curve over decades", "log"),
        ("curve, diverged", "log"),
        ("norms", "linear"),
        ("norms, diverged", "log"),
    ],
)
def test_the_axis_is_logarithmic_where_values_span_decades(name, scale):
    assert axes_of(FIGURES[name])[0].get_yscale() == scale


def test_the_histogram_is_logarithmic_where_norms_span_decades_and_counts_every_finite_one():
    for name, scale, count in [("histogram", "linear", 100), ("histogram, diverged", "log", 59)]:
        (axes,) = axes_of(FIGURES[name])
        assert axes.get_xscale() == scale
        assert sum(bar.get_height() for bar in axes.patches) == count


def test_curves_are_what_was_given_and_end_at_the_last_finite_point():
    (axes,) = axes_of(FIGURES["curve, diverged"])
    train, test = axes.get_lines()[1:3]
    np.testing.assert_array_equal(train.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_array_equal(train.get_ydata(), [9.0, 1e9, 1e30, np.nan])
    np.testing.assert_array_equal(test.get_ydata(), [9.0, 1e9, np.nan, np.nan])


def test_the_end_of_a_diverged_run_is_marked_and_explained():
    label = "diverged in epoch 4, at step 60, first in the gradient network.0.weight"
    for name, position in [("curve, diverged", 4), ("norms, diverged", 60)]:
        (axes,) = axes_of(FIGURES[name])
        assert label in labels(axes)
        assert list(axes.get_lines()[labels(axes).index(label)].get_xdata()) == [position, position]


def test_norms_before_and_after_are_two_curves_only_where_they_differ():
    assert labels(axes_of(FIGURES["norms"])[0]) == ["before and after clipping, the same"]
    assert labels(axes_of(FIGURES["norms, clipped"])[0]) == [
        "threshold of the norm: 2",
        "before clipping",
        "after clipping",
        "clipped steps",
    ]


def test_the_histogram_marks_the_limit_of_the_norm_but_not_that_of_an_element():
    assert labels(axes_of(FIGURES["histogram"])[0]) == [
        *(f"{percentile}th percentile: {np.percentile(steady, percentile):.4g}" for percentile in (50, 90, 99)),
        "threshold of the norm: 2",
    ]


def test_a_run_without_a_finite_point_says_so():
    (axes,) = axes_of(partial(curve, train=[np.nan], test=[np.inf], divergence=DIVERGED))
    assert axes.texts[0].get_text().startswith("no finite score: diverged in epoch 4, at step 60")
    (axes,) = axes_of(partial(curve, train=[], test=[], divergence=None))
    assert axes.texts[0].get_text() == "no finite score"
    (axes,) = axes_of(partial(plots.plot_norm_histogram, norm=np.array([np.nan, np.inf, 0.0]), thresholds={}))
    assert axes.texts[0].get_text() == "no finite gradient"


@pytest.mark.parametrize("name", ["curve of one epoch", "norms of two steps"])
def test_steps_and_epochs_are_whole_numbers(name):
    axes = axes_of(FIGURES[name])[0]
    assert all(tick == round(tick) for tick in axes.get_xticks())


@pytest.mark.parametrize(
    ("name", "color"), [("heat map of a network that died", plots.PALE), ("heat map, diverged", plots.RED)]
)
def test_zero_and_not_finite_have_colours_of_their_own(name, color, tmp_path):
    path = tmp_path / "figure.png"
    plots.draw(path, FIGURES[name])
    pixels = (imread(path)[100:400, 550:700, :3] * 255).round().astype(int)  # within the last third of the steps
    wanted = [int(color[start : start + 2], 16) for start in (1, 3, 5)]
    assert (pixels == wanted).all(axis=-1).mean() > 0.9


def test_the_legend_names_norms_that_are_not_those_before_clipping():
    assert labels(axes_of(FIGURES["norms with derivatives clipped"])[0]) == ["with derivatives clipped"]
