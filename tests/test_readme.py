"""Every command and example of the README, run as it stands there."""

import re
import shlex

import pytest

from tests.conftest import ROOT, Command

README = (ROOT / "README.md").read_text()
BLOCKS = dict.fromkeys(re.findall(r"```(bash|python)\n(.*?)```", README, flags=re.DOTALL))
COMMANDS = [
    line.split("  #")[0].strip()
    for language, block in BLOCKS
    if language == "bash"
    for line in block.splitlines()
    if line.startswith("python src/train.py")  # the one with a server is in tests/tracking/test_server.py
]
EXAMPLES = [block for language, block in BLOCKS if language == "python"]
SHORTER = ("trainer.max_epochs=2", "figures=false", "log_model=false")  # the same commands in less time


def test_the_readme_has_commands_and_examples() -> None:
    assert len(COMMANDS) > 8
    assert EXAMPLES


@pytest.mark.parametrize("command", COMMANDS)
def test_command(train: Command, command: str) -> None:
    done = train(*shlex.split(command)[2:], *SHORTER, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Train: " in done.stdout


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example: str) -> None:
    exec(compile(example, "README.md", "exec"), {})


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_linked_file_exists(path: str) -> None:
    assert (ROOT / path).exists()
