"""Tests of the examples that a run reads and of the notes about them."""

import pytest
import pytorch_lightning

from gradclip.config.composition import compose_config
from gradclip.training.examples import TEST_DECIDES, build_data, build_data_module

STOPPING = ("+callbacks=early_stopping", "callbacks.early_stopping.monitor=mse/test")


@pytest.mark.parametrize(
    ("overrides", "decides"),
    [
        (["data=adding", "trainer.stop_when_solved=true"], False),
        (["data=adding", "trainer.stop_when_solved=true", "data.validation_sequences=0"], True),
        (["data=adding", "data.validation_sequences=0"], False),
        (["data=diabetes", *STOPPING], True),
        (["data=diabetes", STOPPING[0], "callbacks.early_stopping.monitor=mse/validation"], False),
        (["data._target_=tests.support.own.OldWithoutValidation", *STOPPING], True),
    ],
)
def test_a_note_is_added_if_test_examples_decide_when_training_ends(overrides, decides):
    data = build_data(compose_config([*overrides, "tracking=none"]))
    assert (TEST_DECIDES in data.notes) == decides


@pytest.mark.parametrize(("fraction", "part"), [(0.2, "validation"), (0.0, "test")])
def test_a_users_module_is_validated_on_validation_examples_if_there_are_any(fraction, part):
    data = build_data(compose_config(["data=diabetes", f"data.validation_fraction={fraction}", "tracking=none"]))
    module = pytorch_lightning.LightningModule()
    loader = build_data_module(data, module, pytorch_lightning).val_dataloader()
    assert loader.dataset is data.sets[part]
