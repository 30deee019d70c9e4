"""The command ``gradclip`` starts the other commands, and messages name the command that was started."""

import sys

import pytest

from gradclip import __version__, program
from gradclip.cli import main as command
from gradclip.cli import programs
from gradclip.formatting import unsent_message
from gradclip.program import STARTED_IN, as_started, command_line, home, install_command


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(STARTED_IN, "elsewhere")  # monkeypatch restores it after the test
    monkeypatch.delenv("LOCAL_RANK", raising=False)


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["/bin/gradclip", *arguments])
    return command.main()


@pytest.mark.parametrize("name", command.COMMANDS)
def test_each_command_gets_its_arguments(monkeypatch, tmp_path, name):
    seen = []
    monkeypatch.setattr(programs, name, lambda: seen.append([*sys.argv]) or 3)
    assert run(monkeypatch, name, "clip=norm", "-m") == 3
    assert seen == [["/bin/gradclip", "clip=norm", "-m"]]
    assert home() == tmp_path


@pytest.mark.parametrize("name", command.COMMANDS)
def test_each_command_prints_the_version(monkeypatch, capsys, name):
    assert run(monkeypatch, name, "--version") == 0
    assert capsys.readouterr().out == f"gradclip {__version__}\n"


def test_a_process_that_lightning_starts_trains(monkeypatch):
    seen = []
    monkeypatch.setattr(programs, "train", lambda: seen.append([*sys.argv]) or 0)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert run(monkeypatch, "trainer=ddp", "clip=norm") == 0  # Lightning repeats the arguments without the command
    assert seen == [["/bin/gradclip", "trainer=ddp", "clip=norm"]]


def test_a_missing_package_is_reported_in_one_line(monkeypatch, capsys):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name="hydra")

    monkeypatch.setattr(command, "import_module", missing)
    assert run(monkeypatch, "train") == 2
    assert capsys.readouterr() == ("", f"error: gradclip train: needs hydra; {install_command('pipeline')}\n")


def test_messages_name_the_script_or_command_that_was_started(monkeypatch, tmp_path):
    assert command_line("train", ["-m", "a=b c"]) == "gradclip train -m 'a=b c'"
    assert unsent_message(2, tmp_path).endswith(f"Send them: gradclip sync {tmp_path}")
    assert as_started("kept for src/sync.py; python src/train.py") == "kept for gradclip sync; gradclip train"
    monkeypatch.delenv(STARTED_IN)
    assert command_line("train", ["-m"]) == "python src/train.py -m"
    assert as_started("kept for src/sync.py") == "kept for src/sync.py"
    assert home() == program.PROJECT_ROOT
    monkeypatch.setattr(program, "IS_CHECKOUT", False)
    assert command_line("train", ["-m"]) == "gradclip train -m"
    assert install_command("ray") == "python -m pip install '.[ray]' in a checkout of gradclip"
    assert home() == tmp_path
