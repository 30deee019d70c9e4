"""A command ends as the shell expects if its standard output is closed, and in one line if the disk is full."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from gradclip.cli.entry import errors_in_one_line
from gradclip.formatting import Table
from gradclip.terminal import print_tables, standard_output
from tests.conftest import ROOT


@contextmanager
def closed_pipe():
    """Yield the write end of a pipe whose reader is closed."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as file:
        yield file


def print_many_lines():
    print("line\n" * 10_000)


def print_one_line():
    print("line")  # stays in the buffer until the end


def print_and_fail():
    print("line")
    raise SystemExit(2)


def print_table():
    print_tables([Table("", ("run",), [("norm=1.0",)] * 500)])


@pytest.mark.parametrize("printing", [print_many_lines, print_one_line, print_and_fail, print_table])
def test_a_command_exits_as_after_sigpipe_if_standard_output_is_closed(monkeypatch, printing):
    with closed_pipe() as output:
        monkeypatch.setattr(sys, "stdout", output)
        with pytest.raises(SystemExit) as end, standard_output():
            printing()
    assert end.value.code == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("printing", [print_many_lines, print_one_line, print_and_fail])
def test_a_full_disk_below_standard_output_is_reported_in_one_line(monkeypatch, capsys, printing):
    with Path("/dev/full").open("w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        with pytest.raises(SystemExit) as end, standard_output(), errors_in_one_line():
            printing()
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == (printing is not print_and_fail)  # that prints its own error


def test_a_command_without_standard_output_ends_as_usual(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)  # as after >&- in the shell
    with pytest.raises(SystemExit) as end, standard_output():
        print_and_fail()
    assert end.value.code == 2


def break_another_pipe():
    raise BrokenPipeError


def test_another_broken_pipe_is_an_error(monkeypatch, tmp_path):
    with (tmp_path / "output").open("w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        with pytest.raises(BrokenPipeError), standard_output():
            break_another_pipe()


MAIN = "import sys; from gradclip.cli.main import main; sys.exit(main())"
ADVISE = ["src/advise.py", "log=norms.csv", "hydra.run.dir=run"]  # runs in Hydra, which reports exceptions


@pytest.mark.parametrize("arguments", [["src/train.py", "--help"], ["src/sync.py", "."], ["-c", MAIN], ADVISE])
def test_a_command_exits_silently_if_standard_output_is_closed(tmp_path, arguments):
    (tmp_path / "norms.csv").write_text("step,grad_norm\n" + "".join(f"{step},1\n" for step in range(50)))
    script = [str(ROOT / argument) if argument.startswith("src/") else argument for argument in arguments]
    with closed_pipe() as output:
        done = subprocess.run(
            [sys.executable, *script], cwd=tmp_path, stdout=output, stderr=subprocess.PIPE, check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (141, b"")
