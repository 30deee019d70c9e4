"""Early stopping monitors the rows that choose; layers too large for memory are refused before they are built."""

import runpy
import warnings
from types import SimpleNamespace

import pytest
import torch

from gradclip.config.composition import compose_config
from gradclip.data.score_scale import ScoreScale
from gradclip.errors import ModelError
from gradclip.scores import ACCURACY, MSE
from gradclip.training import components
from gradclip.training.components import stopping_callbacks
from gradclip.training.examples import build_data
from gradclip.training.modules import find_network_arguments


@pytest.mark.parametrize(
    ("task", "validation_sequences", "monitored"),
    [
        ("adding", 200, "mse/validation"),
        ("adding", 0, "mse/test"),
        ("temporal_order", 200, "accuracy/validation"),
    ],
)
def test_early_stopping_monitors_validation_examples_if_there_are_any(task, validation_sequences, monitored):
    overrides = [f"data={task}", f"data.validation_sequences={validation_sequences}", "trainer.stop_when_solved=true"]
    config = compose_config([*overrides, "tracking=none"])
    (stopping,) = stopping_callbacks(config, build_data(config))
    assert stopping.monitor == monitored
    assert stopping.stopping_threshold == pytest.approx(config.data.solved_at, rel=1e-5)


def test_importing_the_components_of_training_leaves_the_warning_filters_unchanged():
    with warnings.catch_warnings():
        before = list(warnings.filters)
        runpy.run_path(components.__file__)
        assert warnings.filters == before


def test_layers_that_do_not_fit_in_memory_are_refused_before_they_are_built():
    config = compose_config(["model.widths=[10000000]"])
    allowed = "with 20 inputs and 1 output, at most 100000000 weights are allowed"
    with pytest.raises(ModelError, match=rf"^model\.widths: got \[10000000\]; {allowed}$"):
        find_network_arguments(config, build_data(config))


@pytest.mark.parametrize(("score", "mode"), [(MSE, "min"), (ACCURACY, "max")])
def test_early_stopping_stops_at_solved_at_or_a_better_score(score, mode):
    config = compose_config(["data=adding", "trainer.stop_when_solved=true"])
    data = SimpleNamespace(score_scale=ScoreScale(score, solved_at=0.9), choosing_split="test")
    (stopping,) = stopping_callbacks(config, data)
    assert stopping.mode == mode
    stops = [bool(stopping.monitor_op(torch.tensor(value), stopping.stopping_threshold)) for value in (0.89, 0.9, 0.91)]
    assert stops == [mode == "min", True, mode == "max"]
