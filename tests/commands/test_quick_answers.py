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


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the project's folder, with only the given environment variables."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False, env=environment)


@pytest.mark.parametrize(("script", "arguments"), QUICK)
def test_quick_answers_load_nothing_heavy(script: str, arguments: str) -> None:
    completion = {"COMP_LINE": "train.py clip=", "COMP_POINT": "14"}
    done = python("-X", "importtime", f"src/{script}.py", *arguments.split(), **completion)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "yaml" in imported
    assert not imported & HEAVY


def test_help_shows_every_setting_of_the_chosen_options_with_its_meaning() -> None:
    done = python("src/train.py", "--help", "clip=value", "trainer=debug")
    assert " * value  " in done.stdout
    assert "   clip.value=5.0    " in done.stdout
    assert "   trainer.max_epochs=3    " in done.stdout


def test_full_error_shows_the_traceback() -> None:
    done = python("src/train.py", "clip=norm", "clip.value=-1", HYDRA_FULL_ERROR="1")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_texts_are_utf8_in_every_locale() -> None:
    done = python("src/train.py", "--help", "model=rnn", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")  # ASCII
    assert "N(0, 0.01²)" in done.stdout
