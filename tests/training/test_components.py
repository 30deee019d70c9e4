from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from gradclip.config.paths import CONFIG_FOLDER, register_resolvers
from gradclip.config.validation import validate
from gradclip.errors import TrainerError
from gradclip.training.components import build


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU")
def test_an_accelerator_that_is_not_there_is_named(tmp_path: Path) -> None:
    register_resolvers()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        config = validate(compose("train", ["trainer.accelerator=gpu", "tracking=none"]))
    with pytest.raises(TrainerError, match=r"^trainer\.accelerator: got 'gpu' with devices=1; "):
        build(config, tmp_path)
