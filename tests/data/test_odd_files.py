"""Odd files and paths are read as a table or refused in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from gradclip.config.error_messages import LINE, describe
from gradclip.config.paths import CONFIG_FOLDER, register_resolvers
from gradclip.config.validation import validate
from gradclip.data.sources import table
from gradclip.data.time_series import read_series
from gradclip.errors import GradclipError
from tests.conftest import ROOT
from tests.support import odd_tables
from tests.support.odd_files import CSV, READ, odd_csvs, odd_parquets, odd_paths, write_all


def refusal(read: Callable[[], object]) -> str:
    """Return the error line; empty if the file is read."""
    try:
        read()
    except GradclipError as error:
        line = describe(error)
        assert line.startswith("data")
        assert len(line) <= LINE
        assert line.isprintable()
        return line
    return ""


@pytest.mark.parametrize(("contents", "suffix"), [(odd_csvs, ".csv"), (odd_parquets, ".parquet")])
def test_an_odd_file_is_read_or_refused_in_one_line(
    tmp_path: Path, contents: Callable[[], dict[str, bytes]], suffix: str
) -> None:
    paths = write_all(tmp_path, contents(), suffix)
    lines = {name: refusal(lambda path=path: table(path, "y", categorical=["city"])) for name, path in paths.items()}
    assert {name for name, line in lines.items() if not line} == READ & paths.keys()
    for path in paths.values():
        refusal(lambda path=path: read_series(path, "y", "x", ["y"], window=4))


def test_an_odd_path_is_refused_in_one_line(tmp_path: Path) -> None:
    register_resolvers()
    (tmp_path / "whole.csv").write_text(CSV)
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        config = compose("train", ["data=table", f"data.path={tmp_path}/whole.csv", "data.target=y", "tracking=none"])
    validate(config)
    for name, path in odd_paths(tmp_path).items():
        config.data.path = path
        assert refusal(lambda: table(validate(config).data.path, "y")), name


def test_the_page_on_odd_tables_is_current() -> None:
    page = (ROOT / "docs/odd-tables.md").read_text(encoding="utf-8")
    assert len(odd_tables.TABLES) >= 52
    assert odd_tables.updated(page) == page, "python -m tests.support.odd_tables docs/odd-tables.md"
