"""The Docker image is built with the documented commands, from files that exist."""

import re

from tests.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
PAGES = (ROOT / "README.md").read_text() + (ROOT / "docs" / "installation.md").read_text()


def test_the_image_uses_the_documented_commands():
    installed = re.findall(r"^RUN (python .*)$", DOCKERFILE, re.MULTILINE)
    assert len(installed) == 2
    assert [line for line in installed if line not in PAGES.splitlines()] == []
    commands = re.findall(r"^#   (docker .*)$", DOCKERFILE, re.MULTILINE)
    assert len(commands) == 2
    assert [line for line in commands if line not in PAGES.splitlines()] == []


def test_torch_is_the_version_that_make_installs():
    (version,) = re.findall(r"torch==\S+", DOCKERFILE)
    assert version in (ROOT / "Makefile").read_text()
    assert version in (ROOT / "constraints.txt").read_text().splitlines()


def test_only_existing_files_of_the_package_are_copied():
    _, everything, *patterns = (ROOT / ".dockerignore").read_text().splitlines()
    copied = [pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!")]
    assert everything == "*"
    assert {"src", "conf", "setup.py", "pyproject.toml", "README.md", "LICENSE"} < set(copied)
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_image_does_not_run_as_root_and_keeps_runs_in_a_volume():
    user = re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE)
    assert user == ["gradclip"]
    assert re.findall(r"^VOLUME (.*)$", DOCKERFILE, re.MULTILINE) == ["/home/gradclip/mlruns"]
    assert DOCKERFILE.index("\nUSER ") < DOCKERFILE.index("\nENTRYPOINT ")
