"""The commands and examples in README.md and docs/, which run in order and print what the pages quote.

A ``bash`` block runs line by line. A ``python`` block runs; if its first line names a file, it is written there too. A
``text`` block right after a ``bash`` block quotes the output of its commands. A ``sh`` block does not run: it needs
something that a test does not have, such as a server or a cluster. Commands in the README and commands whose output is
quoted run unchanged; the others run for fewer epochs. A step that is on several pages runs once.
"""

import re
import shlex
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

import pytest
import yaml

from gradclip.program import STARTED_IN
from tests.conftest import ROOT, Command

NAV = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
FIRST = ["README.md", "docs/compare.md"]  # docs/compare.md compares the last multirun, which the README starts
PAGES = list(dict.fromkeys([*FIRST, *(f"docs/{page}" for item in NAV for page in item.values())]))
BLOCK = re.compile(r"```(bash|python|text)\n(.*?)```", re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")  # the first line of a block that is written to a file
SCRIPT = re.compile(r"python src/(\w+)\.py")

SHORTER = ("trainer.max_epochs=2", "figures=false", "log_model=false")
SHORTER_SWEEPS = {
    "success_by_length": (
        *("seed=0", "data.length=10", "data.steps_per_epoch=5"),
        *("data.validation_sequences=100", "data.test_sequences=100"),
    ),
    "norm_thresholds": ("seed=0",),
}
PRINTED = {"train": ("Outcome: ", "outcome"), "compare": ("median",), "advise": ("Findings:",)}


def lines_of(block: str) -> list[str]:
    return [line.split("  #")[0].strip() for line in block.splitlines()]


def read_pages() -> tuple[dict[str, str], set[str], dict[str, list[str]]]:
    """Return all steps with their languages, the steps that run unchanged, and the quotes with their commands."""
    steps: dict[str, str] = {}
    whole: set[str] = set()
    quotes: dict[str, list[str]] = {}
    for page in PAGES:
        blocks = BLOCK.findall((ROOT / page).read_text())
        for (language, block), following in zip_longest(blocks, blocks[1:], fillvalue=("", "")):
            here = [line for line in lines_of(block) if not line.startswith("make ")] if language == "bash" else [block]
            if language == "text":
                continue
            steps |= {step: language for step in here if step not in steps}
            is_quoted = language == "bash" and following[0] == "text"
            whole |= set(here) if is_quoted or page == "README.md" else set()
            quotes |= {f"{page}: {here[-1]}": [following[1], *here]} if is_quoted else {}
    return steps, whole, quotes


STEPS, WHOLE, QUOTES = read_pages()
FIRST_OF_EACH = {SCRIPT.match(step)[1]: step for step in reversed(STEPS) if SCRIPT.match(step)}.values()


def without_numbers(line: str) -> str:
    """Return a line with its numbers and ids, which differ between machines, replaced by ``#``."""
    return " ".join(re.sub(r"\b[0-9a-f]{32}\b|[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?", "#", line).split())


@pytest.fixture(scope="module")
def output_of(command: Command) -> Callable[[str], str]:
    """Return a function that runs a command once and returns its output."""
    outputs: dict[str, str] = {}

    def run(line: str) -> str:
        if line not in outputs:
            name, overrides = SCRIPT.match(line)[1], shlex.split(line)[2:]
            sweep = next((more for sweep, more in SHORTER_SWEEPS.items() if f"+sweep={sweep}" in overrides), ())
            shorter = (*SHORTER, *sweep) if name == "train" and line not in WHOLE else ()
            done = command(name, *overrides, *shorter, cold=line in FIRST_OF_EACH)
            assert done.returncode in ({0, 3} if "log=" in line else {0}), done.stderr
            outputs[line] = done.stdout
        return outputs[line]

    return run


@pytest.mark.parametrize("step", STEPS)
def test_a_step_runs(
    output_of: Callable[[str], str], store_folder: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.chdir(store_folder)  # steps read files that earlier steps wrote
    if STEPS[step] == "python":
        monkeypatch.setenv(STARTED_IN, str(store_folder))
        if file := FILE.match(step):
            Path(file[1]).write_text(step)
        exec(compile(step, "documentation", "exec"), {})
        return
    script = SCRIPT.match(step)
    assert script, "cannot be run here: mark its block as sh"
    assert any(printed in output_of(step) for printed in PRINTED[script[1]])


@pytest.mark.parametrize("quote", QUOTES)
def test_quoted_output_is_what_the_commands_print(output_of: Callable[[str], str], quote: str) -> None:
    text, *commands = QUOTES[quote]
    printed = {without_numbers(line) for command in commands for line in output_of(command).splitlines()}
    quoted = [without_numbers(line) for line in text.splitlines() if line != "..."]
    assert quoted
    assert [line for line in quoted if line not in printed] == []


def test_pages_have_commands_examples_and_quotes() -> None:
    assert list(STEPS.values()).count("bash") > 20
    assert list(STEPS.values()).count("python") > 4
    assert len(QUOTES) > 4
