"""Every command and example of the README, run in order as it stands there."""

import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command

README = (ROOT / "README.md").read_text()
BLOCKS = dict.fromkeys(re.findall(r"```(bash|python)\n(.*?)```", README, flags=re.DOTALL))
STEPS = [
    step.split("  #")[0].strip() if language == "bash" else step
    for language, block in BLOCKS
    for step in (block.splitlines() if language == "bash" else [block])
    if language == "python" or step.startswith("python src/")
]  # the command with a server is in tests/commands/test_server.py
FIRST_OF_EACH = {step.split()[1]: step for step in reversed(STEPS) if step.startswith("python ")}.values()
SHORTER = ("trainer.max_epochs=2", "figures=false", "log_model=false")  # the same commands in less time
SAID = {"src/train.py": ("Train: ", "outcome"), "src/compare.py": ("median",), "src/advise.py": ("What to try",)}
SHORTER_SWEEP = ("seed=0", "data.steps_per_epoch=5", "data.test_sequences=100")


def test_the_readme_has_commands_and_examples() -> None:
    assert sum(step.startswith("python ") for step in STEPS) > 8
    assert sum(not step.startswith("python ") for step in STEPS) > 1


@pytest.mark.parametrize("step", STEPS)
def test_step(command: Command, store_folder: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    monkeypatch.chdir(store_folder)  # an example reads what commands before it wrote, a command what an example wrote
    if not step.startswith("python "):
        exec(compile(step, "README.md", "exec"), {})
        return
    path, *overrides = shlex.split(step)[1:]
    shorter = SHORTER_SWEEP if "success_by_length" in step else ()
    training = (*SHORTER, *shorter) if path == "src/train.py" else ()
    done = command(Path(path).stem, *overrides, *training, timeout=300, cold=step in FIRST_OF_EACH)
    assert done.returncode == 0, done.stderr
    assert any(said in done.stdout for said in SAID[path])


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_linked_file_exists(path: str) -> None:
    assert (ROOT / path).exists()
