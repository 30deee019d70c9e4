"""What comes at once, because somebody waits at the keyboard."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("arguments", [["--help"], ["clip=nrm"], ["-sc", "query=bash"]], ids=" ".join)
def test_quick_answers_do_not_load_torch(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "src/train.py", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, env={"COMP_LINE": "train.py clip=", "COMP_POINT": "14"},
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "yaml" in imported
    assert not imported & {"torch", "pytorch_lightning", "mlflow", "sklearn", "matplotlib", "pandas", "numpy"}


def test_help_shows_every_setting_of_the_chosen_options_with_its_meaning() -> None:
    done = subprocess.run(
        [sys.executable, "src/train.py", "--help", "clip=value", "trainer=debug"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert " * value  " in done.stdout
    assert "   clip.value=5.0    " in done.stdout
    assert "   trainer.max_epochs=3    " in done.stdout
