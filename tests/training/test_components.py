"""The callback that ends training once the problem is solved, and the warnings that training silences."""

import runpy
import warnings

import pytest

from gradclip.config.composition import compose_config
from gradclip.training import components
from gradclip.training.components import stopping_callbacks
from gradclip.training.examples import build_data


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
    assert (stopping.monitor, stopping.stopping_threshold) == (monitored, config.data.solved_at)


def test_importing_the_components_of_training_leaves_the_warning_filters_unchanged():
    with warnings.catch_warnings():
        before = list(warnings.filters)
        runpy.run_path(components.__file__)
        assert warnings.filters == before
