"""One figure of each kind, from synthetic data."""

from dataclasses import replace
from functools import partial

import numpy as np

from gradclip.plots.gradients import plot_coefficients, plot_norm_histogram, plot_norms
from gradclip.plots.groups import (
    GroupScores,
    LearningBand,
    NormRange,
    Speed,
    plot_learning_curves,
    plot_norm_ranges,
    plot_scores,
    plot_speed,
)
from gradclip.plots.heat_maps import plot_heat_map, plot_hidden_states
from gradclip.plots.search import SearchedSetting, SearchTrials, plot_search
from gradclip.plots.target import plot_confusion, plot_predictions, plot_target
from gradclip.plots.thresholds import Grid, ThresholdLine, plot_grid, plot_thresholds
from gradclip.plots.training import plot_learning_curve, plot_step_losses
from gradclip.plots.updates import plot_update_ratios
from gradclip.telemetry.divergence import Divergence

DIVERGED = Divergence(step=60, epoch=4, place="gradient network.0.weight")
STEPS = np.arange(1, 101)
random = np.random.default_rng(0)
STEADY = random.uniform(1.0, 3.0, 100)
EXPLODING = np.where(STEPS < 60, 10.0 ** (STEPS / 4), np.inf)
EXPLODING[80:] = np.nan
NAMES = ("network.embedding.weight", "network.a.part.with.a.rather.long.name.weight", "network.output.bias")
LAYERS = random.uniform(0.5, 2.0, (100, 3)) * [0.01, 1.0, 100.0]
WORDS = "schedule=warmup_cosine batch_size=32 loss=huber number=1"  # three lines of a row's label
LONG = "inputs_and_target_scaled wd=0.1 optimizer=adam lr=0.12345678"  # the longest label that a group can have
NONE = np.full(3, np.nan)

norms = partial(plot_norms, title="Gradient norm", max_abs=STEADY, thresholds={}, divergence=None)
curve = partial(plot_learning_curve, title="Learning curve", score="mean squared error", baseline=20.0, divergence=None)
losses = partial(plot_step_losses, step=STEPS, title="Learning curve", divergence=DIVERGED)
heat_map = partial(plot_heat_map, step=STEPS, names=NAMES, norms=LAYERS, norms_clipped=LAYERS, divergence=None)
hidden = partial(plot_hidden_states, title="Gradient at the hidden state")
ratios = partial(plot_update_ratios, step=STEPS, names=NAMES)
LINE = ThresholdLine(
    label="norm",
    threshold=np.array([0.1, 1.0, 10.0]),
    numbers=[2, 1, 0],
    scores=[np.array([400.0, 500.0, 600.0]), np.array([20.0, 30.0, 40.0]), np.array([9.0])],
    quartiles=np.array([[450.0, 500.0, 550.0], [25.0, 30.0, 35.0], NONE]),
    diverged=np.array([0.0, 0.0, 2 / 3]),
    test_medians=np.array([520.0, 33.0, np.nan]),
)
ALL_DIVERGED = replace(
    LINE, scores=[np.empty(0)] * 3, quartiles=np.array([NONE] * 3), diverged=np.ones(3), test_medians=NONE
)
ACCURATE = replace(
    LINE,
    scores=[np.array([0.91, 0.92]), np.array([0.95, 0.96]), np.array([0.98])],
    quartiles=np.array([[0.91, 0.915, 0.92], [0.95, 0.955, 0.96], NONE]),
    test_medians=np.array([0.92, 0.95, np.nan]),
)
MANY_THRESHOLDS = ThresholdLine(
    "norm", np.linspace(1, 3, 11), range(11), [STEADY[:5]] * 11, np.ones((11, 3)), np.zeros(11), np.full(11, np.nan)
)
thresholds = partial(
    plot_thresholds, lines=[LINE], unclipped=[("none", np.nan)], edge=10.0, score="final/mse_test",
    threshold="threshold of the norm", is_fraction=False,
)  # fmt: skip
scores = partial(plot_scores, score="final/mse_test", title="Scores", is_fraction=False)
REACHED = [Speed(f"{LONG[:-1]}{number}", np.array([3.0, 5.0]), np.array([1.0, 2.0, np.nan]), 3) for number in range(4)]
NEVER_REACHED = Speed("value=1.0", np.empty(0), np.array([200.0, 300.0, 400.0]), 3)
speed = partial(
    plot_speed,
    score="final/mse_test",
    target="epochs until mse/test reaches 100",
    title="Speed",
    higher_is_better=False,
    is_fraction=False,
)
TRIALS = SearchTrials(
    score="final/mse_test, median",
    values=np.array([5.0, 1.0, 200.0, np.nan]),
    lowest=np.array([4.0, 0.9, 100.0, np.nan]),
    highest=np.array([6.0, 1.2, 300.0, np.nan]),
    seeds=np.array([2, 6, 2, 2]),
    all_seeds=6,
    without_score={"diverged": [3]},
    best=1,
    best_so_far=np.array([np.nan, 1.0, 1.0, 1.0]),
    is_fraction=False,
)
SETTINGS = [
    SearchedSetting("clip.value", np.array([0.1, 1.0, 10.0, 100.0]), (), is_log=True),
    SearchedSetting("clip", np.array([0.0, 1.0, 0.0, 1.0]), ("norm", "value"), is_log=False),
    SearchedSetting("optimizer.lr", np.array([0.1, 0.2, 0.3, 0.4]), (), is_log=False),
    SearchedSetting("trainer.batch_size", np.array([8.0, 16.0, 32.0, 64.0]), (), is_log=False),
]

FIGURES = {
    "target": partial(
        plot_target,
        rows={"train": random.normal(size=500), "validation": random.normal(size=90), "test": random.normal(size=400)},
        unit="y (own unit)",
    ),
    "target whose values differ by rounding": partial(
        plot_target, rows={"train": 1.7e18 + 256 * (STEPS % 3), "test": np.full(9, 1.7e18)}, unit="time (ns)"
    ),
    "predictions": partial(plot_predictions, target=STEADY, predicted=STEADY + 0.1, unit="y", title="Predictions"),
    "predictions of a target with a long name": partial(
        plot_predictions, target=STEADY, predicted=STEADY, unit="flow_of_the_river_at_the_old_bridge_" * 5, title="P"
    ),
    "predictions of a tiny target with a long name": partial(
        plot_predictions, target=STEADY * 1e-6, predicted=STEADY * 1e-6, unit="level_of_the_river_at_the_old_" * 2,
        title="P",
    ),
    "confusion": partial(
        plot_confusion, counts=np.array([[90, 10], [20, 80]]), names=("0", "1"), title="Predictions"
    ),
    "confusion of classes with long names": partial(
        plot_confusion, counts=np.eye(7, dtype=int), title="Predictions",
        names=[f"species of the genus Quercus, number {number}" for number in range(7)],
    ),
    "confusion of many classes": partial(
        plot_confusion, counts=np.eye(60, dtype=int), title="Predictions", names=[f"class {n}" for n in range(60)]
    ),
    "curve": partial(curve, curves={"train": [9.0, 4.0, 3.0, 2.5], "test": [10.0, 6.0, 5.0, 5.5]}),
    "curve of three kinds": partial(
        curve, curves={"train": [9.0, 4.0, 3.0], "validation": [9.5, 5.0, 5.5], "test": [10.0, 6.0, 5.0]}
    ),
    "curve of one epoch": partial(curve, curves={"train": [9.0], "test": [10.0]}),
    "curve over decades": partial(curve, curves={"train": [9e6, 4e3, 3.0], "test": [1e7, 5e3, 5.0]}),
    "curve of an accuracy": partial(
        curve, curves={"train": [0.01, 0.5], "test": [0.02, 0.4]}, baseline=0.25, is_fraction=True
    ),
    "curve, diverged": partial(
        curve,
        curves={"train": [9.0, 1e9, 1e30, np.inf], "test": [9.0, 1e9, np.inf, np.nan]},
        divergence=DIVERGED,
    ),
    "curve, none": partial(curve, curves={"train": [np.nan], "test": [np.inf]}),
    "losses": partial(losses, loss=EXPLODING),
    "losses, none": partial(losses, loss=np.full(100, np.nan)),
    "norms": partial(norms, step=STEPS, norm=STEADY, norm_clipped=STEADY),
    "norms, clipped": partial(
        norms, step=STEPS, norm=STEADY, norm_clipped=np.minimum(STEADY, 2.0), thresholds={"norm": 2.0}
    ),
    "norms, elements clipped": partial(
        norms, step=STEPS, norm=STEADY, norm_clipped=np.minimum(STEADY, 2.0), thresholds={"value": 0.5}
    ),
    "norms, both clipped": partial(
        norms, step=STEPS, norm=STEADY, norm_clipped=np.minimum(STEADY, 2.0), thresholds={"norm": 2.0, "value": 0.5}
    ),
    "norms far above the threshold": partial(
        norms, step=STEPS, norm=STEADY * 1e30, norm_clipped=STEADY * 0, thresholds={"norm": 1.0}
    ),
    "norms, threshold scheduled": partial(
        norms, step=STEPS, norm=STEADY * 9, norm_clipped=STEADY, thresholds={"norm": np.linspace(4.0, 2.0, 100)}
    ),
    "norms, diverged": partial(norms, step=STEPS, norm=EXPLODING, norm_clipped=EXPLODING, divergence=DIVERGED),
    "norms of two steps": partial(norms, step=STEPS[:2], norm=STEADY[:2], norm_clipped=STEADY[:2]),
    "norms with derivatives clipped": partial(
        norms, step=STEPS, norm=STEADY, norm_clipped=STEADY, state="with derivatives clipped"
    ),
    "coefficients": partial(plot_coefficients, step=STEPS, coefficient=1 / STEADY, title="Clipping coefficient"),
    "coefficients, all near 0.01": partial(plot_coefficients, step=STEPS, coefficient=0.01 * STEADY, title="Small"),
    "coefficients, none": partial(plot_coefficients, step=STEPS, coefficient=STEADY * np.nan, title="Coefficient"),
    "histogram": partial(plot_norm_histogram, norm=STEADY, thresholds={"norm": 2.0, "value": 0.5}),
    "histogram, diverged": partial(plot_norm_histogram, norm=EXPLODING, thresholds={"norm": 2.0}),
    "histogram, threshold scheduled": partial(
        plot_norm_histogram, norm=STEADY, thresholds={"norm": np.linspace(4.0, 2.0, 100)}
    ),
    "histogram of one norm": partial(plot_norm_histogram, norm=np.ones(5), thresholds={}),
    "histogram of equal huge norms": partial(plot_norm_histogram, norm=np.full(5, 1e20), thresholds={}),
    "histogram of one norm far above the threshold": partial(
        plot_norm_histogram, norm=np.ones(1), thresholds={"norm": 0.001}
    ),
    "histogram, none": partial(plot_norm_histogram, norm=np.array([np.nan, np.inf, 0.0]), thresholds={}),
    "heat map": heat_map,
    "heat map, clipped": partial(heat_map, norms_clipped=np.minimum(LAYERS, 1.0)),
    "heat map, diverged": partial(
        heat_map, norms=LAYERS * EXPLODING[:, None], norms_clipped=LAYERS * EXPLODING[:, None], divergence=DIVERGED
    ),
    "heat map, clipped to zero": partial(heat_map, norms_clipped=LAYERS * 0),
    "heat map of zeros": partial(heat_map, norms=LAYERS * 0, norms_clipped=LAYERS * 0),
    "heat map of a network that died": partial(
        heat_map,
        norms=LAYERS * np.where(STEPS < 60, 1.0, 0.0)[:, None],
        norms_clipped=LAYERS * np.where(STEPS < 60, 1.0, 0.0)[:, None],
    ),
    "heat map, none": partial(
        heat_map, step=STEPS[:1], norms=NONE[None], norms_clipped=NONE[None], divergence=DIVERGED
    ),
    "hidden states": partial(hidden, step=STEPS[::10], norms=LAYERS[::10]),
    "hidden states of one step": partial(hidden, step=STEPS[:1], norms=LAYERS[:1], layer="second"),
    "hidden states, none": partial(hidden, step=STEPS[:2], norms=LAYERS[:2] * np.nan),
    "update ratios": partial(ratios, ratios=LAYERS * 1e-3),
    "update ratios of every tenth step": partial(
        ratios, ratios=np.where(STEPS[:, None] % 10, np.nan, LAYERS * 1e-3)
    ),
    "update ratios of a parameter that is zero": partial(
        ratios, ratios=np.where([True, False, True], LAYERS * 1e-3, np.nan)
    ),
    "update ratios of many parameters": partial(
        ratios, names=[f"layer.{index}" for index in range(9)], ratios=np.hstack([LAYERS] * 3)
    ),
    "update ratios with skipped steps": partial(ratios, ratios=np.where(STEPS[:, None] // 20 % 2, 0.0, LAYERS)),
    "update ratios, none": partial(ratios, ratios=LAYERS * np.nan),
    "scores": partial(
        scores,
        groups=[
            GroupScores(LONG, np.array([9.0, 12.0, 15.0]), 0, test_median=14.0),
            GroupScores("norm=1.0", np.array([900.0]), 2),
            GroupScores("none", np.empty(0), 3),
        ],
    ),
    "scores of groups with three lines, over two decades": partial(
        scores, groups=[GroupScores(WORDS, random.uniform(1.4, 80.0, 9), 0) for _ in range(12)],
        title="final/mse_validation of each run, best 20 of 30 groups",
    ),
    "scores, all diverged": partial(scores, groups=[GroupScores("none", np.empty(0), 3)]),
    "scores that are accuracies": partial(
        scores, groups=[GroupScores("norm=1.0", np.array([0.01, 0.9]), 0)], is_fraction=True
    ),
    "learning curves of a metric with a long name": partial(
        plot_learning_curves, bands=[LearningBand("norm=1.0", STEPS[:3], np.ones((3, 3)))],
        score="error_of_the_flow_at_the_old_bridge_" * 5, title="Learning curves", is_fraction=False,
    ),
    "learning curves": partial(
        plot_learning_curves,
        bands=[
            LearningBand(f"{LONG[:-1]}{number}", STEPS[:3], np.full((3, 3), 10.0**number))
            for number in range(8)
        ]
        + [LearningBand("none", STEPS[:0], np.empty((0, 3)))],
        score="mse/test", title="Learning curves", is_fraction=False,
    ),
    "learning curves with ticks of seven characters": partial(
        plot_learning_curves, bands=[LearningBand("norm=1.0", STEPS[:2], np.array([[-3e5] * 3, [2e5] * 3]))],
        score="mse/test", title="Learning curves", is_fraction=False,
    ),
    "learning curves of one epoch": partial(
        plot_learning_curves, bands=[LearningBand("norm=1.0", STEPS[:1], np.ones((1, 3)))],
        score="mse/test", title="Learning curves", is_fraction=False,
    ),
    "norm ranges": partial(
        plot_norm_ranges,
        ranges=[
            NormRange(LONG, np.array([1.0, 5.0, 9.0, 10.0]), 1.0),
            NormRange("value=1.0", np.array([2.0, 5.0, 9.0, 10.0]), np.nan),
            NormRange("none", np.array([2.0, 5.0, 1e20, 1e27]), np.nan),
            NormRange("skip", NONE.repeat(2)[:4], np.nan),
        ],
    ),
    "speed": partial(speed, groups=[*REACHED, NEVER_REACHED, Speed("none", np.array([3.0]), NONE, 3)]),
    "speed where no group reaches the target": partial(speed, groups=[NEVER_REACHED]),
    "thresholds": thresholds,
    "thresholds of accuracies": partial(
        thresholds, lines=[ACCURATE, ACCURATE], unclipped=[], edge=None, is_fraction=True
    ),
    "thresholds, many within a decade": partial(thresholds, lines=[MANY_THRESHOLDS], edge=None),
    "thresholds, several without clipping": partial(thresholds, unclipped=[("none lr=1", 5.0), ("none lr=2", 9.0)]),
    "thresholds, all diverged": partial(thresholds, lines=[ALL_DIVERGED], edge=None),
    "grid": partial(
        plot_grid,
        grid=Grid(
            ("clip.value", "optimizer.lr"), [1.0, 10.0], [0.1, 0.2],
            np.array([[1.0, 100.0], [np.nan, np.nan]]), np.array([[False, False], [True, False]]),
        ),
        score="final/mse_test",
    ),
    "grid of many values": partial(
        plot_grid,
        grid=Grid(
            ("clip.value", "optimizer.lr"), [*np.geomspace(0.001, 1, 8)], [*np.geomspace(0.1, 1000, 12)],
            10 ** random.uniform(0, 30, (8, 12)), np.zeros((8, 12), bool),
        ),
        score="final/mse_test",
    ),
    "grid, all diverged": partial(
        plot_grid, grid=Grid(("a", "b"), [1.0, 2.0], [1.0, 2.0], np.full((2, 2), np.nan), np.ones((2, 2), bool)),
        score="final/mse_test",
    ),
    "search": partial(plot_search, trials=TRIALS, settings=SETTINGS),
    "search among methods with long names": partial(
        plot_search, trials=TRIALS,
        settings=[
            *SETTINGS[:2],
            SearchedSetting("clip", np.arange(4.0), ("parameter_norm", "stabilize", "norm_value", "zscore"), False),
        ],
    ),
}  # fmt: skip


def axes_of(name):
    """Return the axes of a figure of :data:`FIGURES`."""
    from matplotlib.figure import Figure

    figure = Figure()
    FIGURES[name](figure)
    return figure.axes


def labels(axes):
    legend = axes.get_legend() or axes.figure.legends[0]
    return [text.get_text() for text in legend.get_texts()]
