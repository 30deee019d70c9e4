"""The examples of a run come from a file that does not change, and test rows that choose are noted."""

from pathlib import Path

import pytest
import pytorch_lightning

from gradclip.config.composition import compose_config
from gradclip.config.identity import data_digest
from gradclip.data.sources import SOURCES
from gradclip.errors import ConfigError
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


def test_a_table_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, read = tmp_path / "table.csv", SOURCES["table"]
    table.write_text("x,y\n" + "1,2\n3,4\n" * 40)
    config = compose_config(["data=table", f"data.path={table}", "data.target=y", "tracking=none"])

    def read_and_change(**settings):
        source = read(**settings)
        table.write_text("x,y\n" + "1,2\n3,5\n" * 41)
        return source

    assert build_data(config).digest == data_digest(config)
    monkeypatch.setitem(SOURCES, "table", read_and_change)
    with pytest.raises(ConfigError, match=r"^data\.path: got '.*'; it changed while it was read; repeat the command$"):
        build_data(config)


@pytest.mark.parametrize(("fraction", "part"), [(0.2, "validation"), (0.0, "test")])
def test_a_users_module_is_validated_on_validation_examples_if_there_are_any(fraction, part):
    data = build_data(compose_config(["data=diabetes", f"data.validation_fraction={fraction}", "tracking=none"]))
    module = pytorch_lightning.LightningModule()
    loader = build_data_module(data, module, pytorch_lightning).val_dataloader()
    assert loader.dataset is data.sets[part]
