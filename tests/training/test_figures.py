"""The figures of a run show predictions in the unit of the target, and only what was recorded."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import nn

from gradclip.clipping.build import make_clipper
from gradclip.config.composition import compose_config
from gradclip.data.score_scale import ScoreScale
from gradclip.data.sequences import SequenceData
from gradclip.data.sources import regression, wine
from gradclip.data.tabular import TabularData
from gradclip.plots.style import STYLE, shorten_labels
from gradclip.scores import LoggedScore
from gradclip.telemetry.hidden_states import HiddenStateRecord
from gradclip.training import figures
from gradclip.training.clipping import clipper_settings, thresholds_at
from gradclip.training.figures import draw_figures, gradient_figures, learning_curve, prediction_figures
from gradclip.training.job import Job
from gradclip.training.predictions import predict_test_examples
from gradclip.training.result import Result
from tests.support.records import make_record


def result(data=None, network=None, record=None, train=(9.0, 4.0), test=(9.0, 5.0)):
    """Return the result of a run with made-up gradients and an untrained network."""
    data = data or TabularData(regression(samples=100), scale_target="standard")
    record = record or make_record([[3.0, 4.0]] * 4)
    network = network or nn.Linear(20, 1)
    curves = {"train": [*train], "test": [*test]}
    return Result(data, data.score_scale, lambda: network, {}, record, curves, None, 0.1, 1, loss_is_bounded=False)


def title_of(plot):
    figure = Figure()
    plot(figure)
    return figure.axes[0].get_title(), figure.axes[0].get_xlabel()


def test_predictions_are_in_the_unit_of_the_target():
    data = TabularData(regression(samples=100), scale_target="standard")
    network = nn.Linear(20, 1)
    nn.init.zeros_(network.weight)
    nn.init.zeros_(network.bias)
    target, predicted = predict_test_examples(result(data, network))
    table = data.table
    np.testing.assert_allclose(target, table.target.iloc[table.rows["test"]], rtol=1e-5)
    np.testing.assert_allclose(predicted, table.target.iloc[table.rows["train"]].mean(), rtol=1e-5)


@pytest.mark.parametrize(("task", "values"), [("temporal_order", 1), ("copy", 11)])
def test_classes_are_predicted_at_every_step_that_has_one(task, values):
    data = SequenceData(task, length=10, test_sequences=100, **({"positions": 1, "values": 8} if values > 1 else {}))
    outputs = data.shape.outputs[-1]
    network = nn.Linear(data.shape.example[-1], outputs)
    if values == 1:
        network = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(data.shape.example)), outputs))
    target, predicted = predict_test_examples(result(data, network))
    assert len(target) == len(predicted) == 100 * (data.shape.outputs[0] if values > 1 else 1)
    assert set(predicted) <= set(range(outputs))
    assert [*prediction_figures("none", result(data, network))] == ["confusion"]


def test_a_run_that_diverged_in_its_first_epoch_plots_the_loss_of_each_step():
    record = make_record([[3.0, 4.0]] * 4, loss=[1.0, 100.0, 1e9, np.nan])
    early = result(record=record, train=[np.nan, np.nan], test=[np.nan, np.nan])
    assert title_of(learning_curve("none", early)) == ("Learning curve, clip none", "optimizer step")
    late = result(record=record, train=[9.0, 4.0, np.nan], test=[9.0, 5.0, np.nan])
    assert title_of(learning_curve("none", late))[1] == "epoch"
    assert prediction_figures("none", early) == {}


def test_the_curve_of_a_logged_score_has_the_name_of_the_metric_and_no_unknown_baseline():
    scale = ScoreScale(LoggedScore("reward", perfect=float("inf")))
    logged = replace(result(), score_scale=scale, curves={"train": [9.0, 4.0], "validation": [1.0, 2.0]})
    figure = Figure()
    learning_curve("none", logged)(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["loss/train", "reward"]


def test_the_coefficient_is_drawn_only_if_gradients_were_clipped():
    config = compose_config(["clip=norm", "clip.value=1.0"])
    clipped = make_record([[3.0, 4.0]] * 4, norms_clipped=[[0.6, 0.8]] * 4)
    assert "clipping_coefficient" not in gradient_figures(config, result())
    assert "clipping_coefficient" in gradient_figures(config, result(record=clipped))


@pytest.mark.parametrize("shape", ["linear", "exponential"])
def test_the_drawn_threshold_is_the_one_that_the_schedule_clips_at(shape):
    config = compose_config(
        ["clip=norm_value", "clip.norm=8", f"threshold={shape}", "threshold.start=4", "threshold.steps=3"]
    )
    thresholds = thresholds_at(config, np.arange(1, 6))
    clipper, gradients = make_clipper(**clipper_settings(config)), {"weight": torch.ones(2) * 100}
    state, largest = clipper.init(gradients), []
    for _ in range(5):
        clipped, state, _ = clipper(gradients, gradients, state)
        largest.append(clipped["weight"].max().item())
    np.testing.assert_allclose(thresholds["value"], largest)
    assert thresholds["norm"] == 8.0  # a schedule changes clip.value only
    assert thresholds_at(compose_config(["clip=norm"]), np.arange(1, 6)) == {"norm": 1.0}


def test_the_title_of_a_figure_has_room_for_two_thresholds():
    config = compose_config(["clip=norm_value", "clip.norm=5", "clip.value=1"])
    clipped = make_record([[3.0, 4.0]] * 4, norms_clipped=[[0.6, 0.8]] * 4)
    for name in ("gradient_norm", "clipping_coefficient"):
        figure = Figure((8.0, 4.5))
        with rc_context(STYLE):
            gradient_figures(config, result(record=clipped))[name](figure)
            shorten_labels(figure)
        assert ", clip norm_value=5.0,1.0" in figure.axes[0].get_title(loc="left")


def test_figures_have_the_requested_format(tmp_path):
    draw_figures(Job(compose_config(["clip=none", "figure_format=svg"]), (), tmp_path), result())
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        f"{name}.svg"
        for name in (
            *("target", "learning_curve", "predictions", "gradient_norm", "gradient_norm_by_parameter"),
            *("update_ratio", "gradient_norm_histogram"),
        )
    }


def test_the_names_of_all_figures_are_known(tmp_path, monkeypatch):
    drawn = set()
    monkeypatch.setattr(figures, "draw", lambda path, _: drawn.add(path.stem))
    clipped = make_record([[3.0, 4.0]] * 4, norms_clipped=[[0.6, 0.8]] * 4)
    hidden = HiddenStateRecord(np.array([1]), {"layer 1": np.ones((1, 3))})
    classes = result(TabularData(wine()), nn.Linear(13, 3), clipped)
    for one in (replace(result(record=clipped), hidden=hidden), classes):
        draw_figures(Job(compose_config(["clip=norm"]), (), tmp_path), one)
    assert drawn == figures.FIGURES
