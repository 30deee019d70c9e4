"""The wheel in an environment of its own: every command runs from an empty folder, and keeps its runs there."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

import gradclip
from tests.conftest import ROOT, assert_told_in_one_line
from tests.support.mlflow_server import free_port

pytest.importorskip("build")
SOURCES = ["src", "conf", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"]
QUICK = ("trainer.max_epochs=2", "figures=false", "log_model=false")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, installed from a wheel into a new environment that has the packages of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source, ignored = ROOT / name, shutil.ignore_patterns("__pycache__", "*.egg-info")
        copy = folder / "project" / name
        copy.parent.mkdir(exist_ok=True)
        shutil.copytree(source, copy, ignore=ignored) if source.is_dir() else shutil.copy(source, copy)
    environment = folder / "environment"
    python("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(folder / "project"))
    python("-m", "venv", "--without-pip", str(environment))
    (packages,) = environment.glob("lib/*/site-packages")
    (packages / "packages.pth").write_text(sysconfig.get_path("purelib"))
    own, (wheel,) = str(environment / "bin" / "python"), folder.glob("*.whl")
    python("-m", "pip", "--python", own, "install", "--no-deps", "--no-index", str(wheel))
    return environment / "bin" / "gradclip"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


@pytest.fixture(scope="module")
def run(program: Path, empty: Path) -> Run:
    def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(program), *arguments], cwd=empty, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    return command


@pytest.fixture(scope="module")
def trained(run: Run) -> "subprocess.CompletedProcess[str]":
    return run("train", "-m", "hydra/launcher=vectorized", "clip=norm", "clip.value=1,2", "seed=0", *QUICK)


@pytest.fixture
def pages(program: Path, empty: Path, trained: "subprocess.CompletedProcess[str]") -> Iterator[str]:
    """The address of MLflow's pages, over the runs that were trained."""
    assert trained.returncode == 0, trained.stderr
    port = free_port()
    with subprocess.Popen([str(program), "ui", f"port={port}"], cwd=empty, stderr=subprocess.DEVNULL) as server:
        yield f"http://127.0.0.1:{port}"
        server.terminate()


def test_help_and_version_are_there_at_once(run: Run) -> None:
    done = run("--help")
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("gradclip ")][:6] == [
        "train", "compare", "advise", "predict", "sync", "ui",
    ]  # fmt: skip
    assert run("--version").stdout == f"gradclip {gradclip.__version__}\n"
    choose = "choose from train, compare, advise, predict, sync, ui (did you"
    assert_told_in_one_line(run("trian"), f"command: got 'trian'; {choose}")
    assert "python src" not in run("train", "--help").stdout
    assert_told_in_one_line(run("ui"), "ui: got ")
    assert_told_in_one_line(run("compare", "-m"), "--multirun (-m): only gradclip train runs many jobs")
    assert_told_in_one_line(run("train", "hydra.run.dir=${nope:}"), "hydra.run.dir: ")


def test_every_command_runs_from_an_empty_folder(
    run: Run, empty: Path, trained: "subprocess.CompletedProcess[str]", pages: str
) -> None:
    assert "norm=2.0" in trained.stdout
    assert [path.name for path in empty.iterdir()] == ["mlruns"]
    assert (empty / "mlruns" / "mlflow.db").is_file()
    advice = run("advise")
    (suggested, *_) = re.findall(r"^ +gradclip (train .*)$", advice.stdout, re.MULTILINE)
    assert "python src" not in advice.stdout
    assert shlex.split(suggested)[1] == "-m"
    compared = run("compare")
    assert "norm=2.0" in compared.stdout, compared.stderr
    assert "Stored with the multirun's parent run" in compared.stdout
    sent = run("sync")
    assert (sent.returncode, sent.stdout) == (0, f"Nothing to send below {empty}/mlruns\n")
    for _ in range(300):
        try:
            with urlopen(f"{pages}/health") as answer:
                assert answer.read() == b"OK"
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("no answer")
