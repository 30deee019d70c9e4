"""``make test-oldest`` installs the lower bounds of pyproject.toml, which constraints-oldest.txt repeats."""

import re
import tomllib

from packaging.requirements import Requirement
from packaging.version import Version

from tests.conftest import ROOT

UNPINNED = {"gradclip", "torch"}  # torch: OLDEST_TORCH in the Makefile
NOT_TESTED = {"dev", "docs", "ray"}  # tools; Ray's pinned version is its lower bound


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def lower_bounds() -> dict[str, Version]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [lines for name, lines in project["optional-dependencies"].items() if name not in NOT_TESTED]
    requirements = [Requirement(line) for lines in [project["dependencies"], *extras] for line in lines]
    bounds = {
        normalized(requirement.name): Version(specifier.version)
        for requirement in requirements
        for specifier in requirement.specifier
        if specifier.operator == ">="
    }
    assert bounds.keys() | UNPINNED == {normalized(requirement.name) for requirement in requirements}
    return {name: version for name, version in bounds.items() if name not in UNPINNED}


def test_the_oldest_versions_equal_the_lower_bounds() -> None:
    pins = re.findall(r"^([\w.-]+)==(.+)$", (ROOT / "constraints-oldest.txt").read_text(), flags=re.MULTILINE)
    assert {normalized(name): Version(version) for name, version in pins} == lower_bounds()
