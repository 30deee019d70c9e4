"""Help, completion and error messages, which appear at once because they load no heavy packages."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

QUICK = [
    ("train", "--help"), ("train", "clip=nrm"), ("train", "-sc query=bash"),
    ("compare", "--help"), ("compare", "target=abc"), ("compare", "metrik=x"),
    ("advise", "--help"), ("advise", "seeds=1"),
]  # fmt: skip
HEAVY = {"torch", "pytorch_lightning", "mlflow", "sklearn", "matplotlib", "pandas", "numpy", "scipy"}


@pytest.mark.parametrize(("script", "arguments"), QUICK)
def test_quick_answers_load_nothing_heavy(script: str, arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", f"src/{script}.py", *arguments.split()],
        cwd=ROOT, capture_output=True, text=True, check=False, env={"COMP_LINE": "train.py clip=", "COMP_POINT": "14"},
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "yaml" in imported
    assert not imported & HEAVY


def test_help_shows_every_setting_of_the_chosen_options_with_its_meaning() -> None:
    done = subprocess.run(
        [sys.executable, "src/train.py", "--help", "clip=value", "trainer=debug"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert " * value  " in done.stdout
    assert "   clip.value=5.0    " in done.stdout
    assert "   trainer.max_epochs=3    " in done.stdout


def test_full_error_shows_the_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "src/train.py", "clip=norm", "clip.value=-1"],
        cwd=ROOT, capture_output=True, text=True, check=False, env={"HYDRA_FULL_ERROR": "1"},
    )  # fmt: skip
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_texts_are_utf8_in_every_locale() -> None:
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # ASCII
    done = subprocess.run(
        [sys.executable, "src/train.py", "--help", "model=rnn"],
        cwd=ROOT, capture_output=True, check=True, env=locale, encoding="utf-8",
    )  # fmt: skip
    assert "N(0, 0.01²)" in done.stdout
