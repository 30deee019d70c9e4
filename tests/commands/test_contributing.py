"""The recipe for a clipping method in CONTRIBUTING.md, followed in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from tests.conftest import ROOT, assert_one_error_line

RECIPE = (ROOT / "CONTRIBUTING.md").read_text().partition("## A clipping method\n")[2].partition("\n## ")[0]
STEPS = re.findall(r"^\d\. [^`]*`([\w/.]+)`.*?\n   ```\w+\n(.*?)   ```$", RECIPE, flags=re.MULTILINE | re.DOTALL)
FILES = {path: dedent(text) for path, text in STEPS}
COPIED = ["src", "conf", "tests", "docs", "README.md", "CONTRIBUTING.md", "pyproject.toml"]
TABLE = "src/gradclip/clipping/methods.py"
SHORT = ("tracking=none", "trainer.max_epochs=2", "figures=false", "log_model=false")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the project and add the sample method."""
    copy = tmp_path_factory.mktemp("project")
    for name in COPIED:
        source, ignored = ROOT / name, shutil.ignore_patterns("__pycache__", "*.png", "*.egg-info")
        shutil.copytree(source, copy / name, ignore=ignored) if source.is_dir() else shutil.copy(source, copy)
    for path, text in FILES.items():
        with (copy / path).open("a" if path == TABLE else "x") as file:
            file.write(text)
    return copy


@pytest.fixture(scope="module")
def run(copy: Path) -> Run:
    """Run Python in the copy."""

    def python(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *arguments], cwd=copy, capture_output=True, text=True, check=False,
            env=os.environ | {"PYTHONPATH": f"{copy}/src:{copy}"},
        )  # fmt: skip

    return python


def test_the_recipe_has_four_files() -> None:
    assert list(FILES) == [
        "src/gradclip/clipping/rms.py", "conf/clip/rms.yaml", "tests/clipping/test_rms.py", TABLE,
    ]  # fmt: skip
    assert FILES[TABLE].count("\n") == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("clip.value=-1", "clip.value: got -1; must be greater than 0"),
        ("+clip.valeu=1", "clip.valeu: no such setting (did you mean 'clip.value'?)"),
    ],
)
def test_an_invalid_setting_is_reported_in_one_line(run: Run, override: str, message: str) -> None:
    assert_one_error_line(run("src/train.py", "clip=rms", override, *SHORT), message)


def test_help_lists_the_settings_of_the_method(run: Run) -> None:
    done = run("src/train.py", "--help", "clip=rms")
    assert " * rms  " in done.stdout
    assert re.search(r"clip\.value=0\.1 +threshold of each tensor's root mean square", done.stdout)


def test_the_method_trains(run: Run) -> None:
    done = run("src/train.py", "clip=rms", "clip.value=0.05", *SHORT)
    assert done.returncode == 0, done.stderr
    assert "Clipping: rms=0.05 changed 100% of 32 steps" in done.stdout


def test_the_method_trains_stacked(run: Run) -> None:
    done = run("src/train.py", "-m", "hydra/launcher=vectorized", "clip=rms", "clip.value=0.05,0.1", *SHORT)
    assert done.returncode == 0, done.stderr
    assert re.search(r"rms=0\.05 .*\n.*rms=0\.1 ", done.stdout)
    assert "run separately" not in done.stderr


def test_the_table_of_methods_lists_the_method(run: Run, copy: Path) -> None:
    done = run("docs/methods_table.py", "README.md")
    assert done.returncode == 0, done.stderr
    row = "| `rms` | g_i·min(1, c/RMS(g_i)) for each tensor | Shazeer & Stern 2018 (Adafactor) |"
    assert f"\n{row}\n" in (copy / "README.md").read_text()


def test_the_contract_suites_cover_the_method(run: Run) -> None:
    own = ["tests/clipping/test_rms.py", "src/gradclip/clipping/rms.py"]
    suites = [
        "tests/clipping/test_contract.py",
        "tests/clipping/test_methods_table.py",
        "tests/stacked/test_training.py",
    ]
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "rms or RMS", *own, *suites)
    assert done.returncode == 0, done.stdout
    assert int(done.stdout.rpartition(" passed")[0].split()[-1]) > 30
