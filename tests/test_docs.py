"""The README and the pages of docs/ match the code: links, names, versions and the figure of the layers."""

import importlib.util
import re
import subprocess
import tomllib

import numpy as np
import pytest
import yaml

import gradclip
from gradclip import keys
from gradclip.config.validation import setting_names
from gradclip.scores import SCORES, SPLITS, LoggedScore
from gradclip.telemetry.record import GradientRecord
from tests.conftest import ROOT

DOCS = ROOT / "docs"
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted(DOCS.glob("*.md"))]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")
CODE = re.compile(r"`([^`\n]+)`")
BLOCK = re.compile(r"```.*?```", re.DOTALL)
GROUPS = "data|model|loss|optimizer|schedule|clip|threshold|trainer|tracking"
SETTING = re.compile(rf"(?<![\w./])(?:{GROUPS})\.[a-z_]+(?![\w(])")
METRIC = re.compile(r"\b(?:grad|final|best|update|weight|input|target|hidden|loss|mse|accuracy)/[a-z_0-9]+\b")
FILE = re.compile(r"^(?:src|tests|conf|docs)/[\w./]+$")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def anchors(text: str) -> set[str]:
    """Return the anchors of all headings, as GitHub and MkDocs create them."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def inline_code(text: str) -> list[str]:
    return CODE.findall(BLOCK.sub("", text))


@pages
def test_link_targets_exist(page):
    for path, anchor in LINK.findall(page.read_text()):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target.read_text()), anchor


@pages
def test_settings_exist(page):
    known = set(setting_names())
    named = {
        name
        for code in re.findall(r"```(?:bash|sh)\n.*?```|`[^`\n]+`", page.read_text(), re.DOTALL)
        for name in SETTING.findall(code)
    }
    assert {name for name in named if not name.endswith((".py", ".yaml"))} <= known


@pages
def test_metrics_and_columns_exist(page):
    known_scores = [*SCORES.values(), LoggedScore("val_loss", perfect=-np.inf)]
    scores = {name(split) for score in known_scores for name in (score.by_epoch, score.final) for split in SPLITS}
    scores |= {score.best(split) for score in known_scores for split in SPLITS[1:]}
    columns = {name.removesuffix("/p") for name in GradientRecord.empty(("p",)).to_columns()}
    known = scores | columns | {value for value in vars(keys).values() if isinstance(value, str)} | {"hidden/grad_norm"}
    assert {name for code in inline_code(page.read_text()) for name in METRIC.findall(code)} <= known


@pages
def test_files_exist(page):
    paths = {code for code in inline_code(page.read_text()) if FILE.match(code) and "<" not in code}
    if page.name == "architecture.md":
        short = {code for code in inline_code(page.read_text()) if re.fullmatch(r"\w+/[\w/]*(?:\.py)?", code)}
        paths |= {f"src/gradclip/{code}" for code in short if not code.startswith(("src", "tests", "conf", "docs"))}
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_the_documented_tree_exists():
    tree = (DOCS / "architecture.md").read_text().split("```")[1]
    folder = {0: ROOT}
    for line in tree.strip().splitlines():
        level = (len(line) - len(line.lstrip())) // 2
        for name in line.strip().split("  ")[0].split():
            path = folder[level] / name
            assert path.exists(), path
            folder[level + 1] = path


def test_the_navigation_has_every_page():
    assert sorted(page for item in CONFIG["nav"] for page in item.values()) == sorted(
        path.name for path in DOCS.glob("*.md")
    )


def test_the_reference_has_every_public_name():
    named = re.findall(r"^::: gradclip\.(\w+)$", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert sorted(named) == gradclip.__all__


def test_the_figure_of_the_layers_matches_the_import_contract():
    spec = importlib.util.spec_from_file_location("layers", DOCS / "layers.py")
    layers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(layers)
    drawn = layers.draw(layers.layers((ROOT / "pyproject.toml").read_text()))
    assert (DOCS / "layers.svg").read_text() == drawn, "run: python docs/layers.py"


def test_the_readme_is_short():
    before, _, rest = (ROOT / "README.md").read_text().partition("<!-- methods:begin short -->")
    _, _, after = rest.partition("<!-- methods:end -->")  # the table between grows with each method
    assert len(f"{before}{after}".split()) <= 720


def test_badges_match_the_project_metadata():
    readme = (ROOT / "README.md").read_text()
    assert f"license-{PYPROJECT['project']['license']}-" in readme
    oldest = PYPROJECT["project"]["requires-python"].removeprefix(">=")
    assert f"python-{oldest}_or_newer-" in readme


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == gradclip.__version__
    assert citation["license"] == PYPROJECT["project"]["license"]


def test_the_commands_without_make_are_those_of_make():
    start = (DOCS / "start.md").read_text()
    lines = re.search(r"Without make.*?```sh\n(.*?)```", start, re.DOTALL)[1].splitlines()
    make = subprocess.run(
        ["make", "--dry-run", "--always-make", "train", "test"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    done = make.stdout.replace("--quiet ", "")
    assert [line for line in lines if line not in done] == []


def test_every_column_of_the_record_is_documented():
    text = (DOCS / "telemetry.md").read_text()
    columns = GradientRecord.empty(("p",)).to_columns()
    assert np.all([name.removesuffix("/p") in text for name in columns])
