"""The figures of a comparison show every group, in one colour, and only what the runs support."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from gradclip import keys
from gradclip.compare.figure_data import norm_range, threshold_lines
from gradclip.compare.figures import figures
from gradclip.compare.grouping import group_runs
from gradclip.compare.metric import choose_metric
from gradclip.compare.summary import summarize_groups
from gradclip.plots.style import GREY, series_style
from gradclip.tracking.stored_runs import Curve
from tests.support.comparisons import by_threshold, compared, ended_run, validated

SCORES = {"0.1": [90.0, 80.0], "1.0": [5.0, 6.0], "10.0": [2.0, float("nan")], "100.0": [float("nan")] * 2}


def test_the_first_figure_shows_every_run_and_groups_keep_their_colours() -> None:
    runs = by_threshold(SCORES)
    curves = {run.run_id: Curve(np.array([1, 2]), np.array([100.0, 10.0])) for run in runs}
    found = figures(compared(runs), curves)
    assert [*found] == ["all_runs", "learning_curves", "threshold"]  # too few groups for the figure of speed
    assert min(found) == "all_runs"
    colors = {}
    for name, plot in found.items():
        figure = Figure()
        plot(figure)
        colors[name] = [line.get_color() for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
    best = series_style(0).color
    assert colors["all_runs"][0] == best
    assert best in colors["threshold"]


def test_the_figure_of_speed_has_every_group_with_the_number_of_runs_that_reached_the_target() -> None:
    ends = {"0.1": [3.0, 3.0], "1.0": [0.5, 0.9], "10.0": [0.5, 2.0], "100.0": [4.0, 5.0], "1e6": [float("nan")] * 2}
    runs = by_threshold(ends)
    values = {run.run_id: np.array([9.0, run.metrics["final/mse_test"]]) for run in runs}
    curves = {
        name: Curve(np.flatnonzero(np.isfinite(value)) + 1, value[np.isfinite(value)]) for name, value in values.items()
    }
    figure = Figure()
    figures(compared(runs, curves=curves), curves)["speed"](figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *("norm=1.0", "norm=10.0 (1 of 2 reached it)", "norm=0.1 (0 of 2 reached it)"),
        "norm=100.0 (0 of 2 reached it)",
        "norm=1e6: diverged (0 of 2 reached it)",
    ]


def test_there_is_no_figure_of_speed_if_all_runs_reach_the_target_in_the_same_epoch() -> None:
    runs = by_threshold({"0.1": [3.0], "1.0": [0.5], "10.0": [0.6], "100.0": [4.0]})
    curves = {run.run_id: Curve(np.array([1, 2]), np.array([0.1, 0.2])) for run in runs}
    assert "speed" not in figures(compared(runs, curves=curves), curves)


def test_stored_norms_are_drawn_and_two_settings_make_a_heat_map() -> None:
    runs = [run for rate in ("0.1", "0.2") for run in by_threshold({"1.0": [1.0], "5.0": [2.0]}, optimizer__lr=rate)]
    for run in runs:
        run.metrics.update(dict.fromkeys((keys.GRAD_NORM_P50, keys.GRAD_NORM_P90), 1.0))
    assert [*figures(compared(runs), {})] == ["all_runs", "gradient_norms", "heat_map"]


def test_accuracies_are_on_a_linear_axis() -> None:
    runs = [ended_run(score, seed, metric="final/accuracy_test") for seed, score in enumerate((0.01, 0.9))]
    figure = Figure()
    figures(compared(runs), {})["all_runs"](figure)
    assert figure.axes[0].get_xscale() == "linear"


def test_a_reward_beyond_one_is_inside_every_figure() -> None:
    ends = {"0.1": 30.0, "1.0": 25.0, "10.0": 21.0, "100.0": -4.0}
    runs = by_threshold({value: [end, end + 1] for value, end in ends.items()}, metric="final/reward")
    runs = [replace(run, tags=run.tags | {keys.SCORE: "reward", keys.SCORE_MODE: "max"}) for run in runs]
    curves = {run.run_id: Curve(np.array([1, 2]), np.array([0.5, run.metrics["final/reward"]])) for run in runs}
    found = figures(compared(runs, curves=curves), curves)
    assert [*found] == ["all_runs", "learning_curves", "speed", "threshold"]
    axes = {}
    for name, plot in found.items():
        figure = Figure()
        plot(figure)
        axes[name] = figure.axes[0]
    limits = {name: one.get_xlim() if name == "all_runs" else one.get_ylim() for name, one in axes.items()}
    assert all(low < -4.0 and high > 30.0 for low, high in limits.values())
    assert axes["speed"].get_xlabel().endswith("\n(upper left is best)")


def test_the_threshold_axis_has_a_unit_only_if_all_methods_share_it() -> None:
    labels = []
    for methods in (("norm",), ("norm", "value"), ("norm", "zscore")):
        runs = [run for method in methods for run in by_threshold({"1.0": [1.0], "5.0": [2.0]}, clip__name=method)]
        figure = Figure()
        figures(compared(runs), {})["threshold"](figure)
        labels.append(figure.axes[-1].get_xlabel())
    unit = "loss per unit of weight"
    assert labels == [f"threshold of the norm, clip.value, {unit}", f"clip.value, {unit}", "clip.value"]


def test_a_figure_of_the_best_groups_says_so() -> None:
    runs = by_threshold({f"{value}.0": [float(value)] for value in range(1, 31)})
    figure = Figure()
    figures(compared(runs), {})["all_runs"](figure)
    assert figure.axes[0].get_title() == "final/mse_test of each run, best 20 of 30 groups"


def test_a_group_that_mixes_thresholds_has_none() -> None:
    runs = by_threshold({"1.0": [1.0, 2.0], "5.0": [2.0, 3.0]})
    grouping = group_runs(runs, by=["clip.name"])
    metric = choose_metric(runs, None)
    (summary,) = summarize_groups(grouping.groups, metric, {}, 1.0)
    assert threshold_lines([summary]) == []
    assert np.isnan(norm_range(summary).threshold)


def test_thresholds_that_a_logarithmic_axis_cannot_show_are_omitted() -> None:
    found = compared(by_threshold({"0.0": [1.0], "inf": [1.0], "1.0": [1.0], "2.0": [1.0]}))
    (line,) = threshold_lines(found.summaries)
    assert line.threshold.tolist() == [1.0, 2.0]


def test_a_line_of_thresholds_is_named_after_the_option_not_after_its_settings() -> None:
    sgd, adam = {"optimizer__name": "sgd", "optimizer__lr": "0.01"}, {"optimizer__name": "adam", "optimizer__lr": "0.1"}
    runs = [run for settings in (sgd, adam) for run in by_threshold({"1.0": [1.0], "5.0": [2.0]}, **settings)]
    lines = threshold_lines(compared(runs).summaries)
    assert [line.label for line in lines] == ["norm optimizer=adam", "norm optimizer=sgd"]


@pytest.mark.parametrize(("unclipped", "lines"), [(1, 1), (2, 0)])
def test_one_group_without_clipping_is_a_line_in_the_figure_of_thresholds(unclipped: int, lines: int) -> None:
    runs = by_threshold({"1.0": [1.0], "5.0": [2.0]})
    runs += [ended_run(9.0, 0, clip__name="none", loss__name=f"loss{number}") for number in range(unclipped)]
    figure = Figure()
    figures(compared(runs), {})["threshold"](figure)
    assert sum(line.get_linestyle() == "--" and len(line.get_xdata()) == 2 and line.get_color() == GREY
               for line in figure.axes[0].get_lines()) == lines  # fmt: skip


def test_figures_name_the_rows_that_choose_and_show_the_median_on_test() -> None:
    runs = validated(by_threshold({"1.0": [30.0, 40.0], "5.0": [10.0, 11.0]}), [1.0, 2, 3, 4])
    curves = {run.run_id: Curve(np.array([1, 2]), np.array([100.0, 10.0])) for run in runs}
    axes = {}
    for name, plot in figures(compared(runs), curves).items():
        figure = Figure()
        plot(figure)
        axes[name] = figure.axes[0]
    assert axes["all_runs"].get_xlabel() == "final/mse_validation"
    marks = "(dots: runs, line: median, bar: interquartile range, diamond: median on test)"
    assert axes["all_runs"].figure.get_supxlabel() == marks
    diamonds = [line.get_xdata().tolist() for line in axes["all_runs"].get_lines() if line.get_marker() == "D"]
    assert diamonds == [[35.0], [10.5]]
    (medians,) = (line for line in axes["threshold"].get_lines() if line.get_label() == "median on test")
    assert medians.get_xydata().tolist() == [[1.0, 35.0], [5.0, 10.5]]
    assert axes["learning_curves"].get_ylabel() == "mse/validation"
    assert axes["threshold"].get_ylabel() == "final/mse_validation"


def test_no_threshold_is_marked_as_the_best_if_every_group_diverged() -> None:
    found = compared(by_threshold({"0.1": [np.nan], "1.0": [np.nan], "10.0": [np.nan]}))
    figure = Figure()
    figures(found, {})["threshold"](figure)
    assert not any("best group" in text.get_text() for text in figure.legends[0].get_texts())
