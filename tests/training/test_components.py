"""What the parts of a run are given."""

import pytest

from gradclip.config.composition import compose_config
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
def test_a_run_stops_by_the_score_on_the_examples_that_choose(task, validation_sequences, monitored):
    overrides = [f"data={task}", f"data.validation_sequences={validation_sequences}", "trainer.stop_when_solved=true"]
    config = compose_config([*overrides, "tracking=none"])
    (stopping,) = stopping_callbacks(config, build_data(config))
    assert (stopping.monitor, stopping.stopping_threshold) == (monitored, config.data.solved_at)
