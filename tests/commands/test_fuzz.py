"""Fuzzed overrides and malformed files, which are accepted or refused in one line, never with a traceback."""

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Command, SearchRuns
from tests.support.fuzzing import GOOD, attempt, fuzzed_line, malformed_files, table_overrides

MALFORMED = malformed_files()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_fuzzed_overrides_build_or_are_refused_in_one_line(tmp_path: Path, seed: int) -> None:
    attempt(fuzzed_line(random.Random(seed)), tmp_path)


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_files_are_read_or_refused_in_one_line(tmp_path: Path, what: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(MALFORMED[what])
    attempt(table_overrides(path, random.Random(what)), tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_the_intact_file_is_read(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "table.csv"
    path.write_text(GOOD)
    assert attempt(table_overrides(path, random.Random(seed)), tmp_path) == ""


@pytest.mark.parametrize("what", ["noise", "utf-16", "parquet's mark"])
def test_malformed_parquet_is_refused_in_one_line(tmp_path: Path, what: str) -> None:
    path = tmp_path / "table.parquet"
    path.write_bytes(MALFORMED[what])
    assert attempt(["data=table", f"data.path={path}", "data.target=y"], tmp_path).startswith("data.path: got ")


def test_a_refused_command_leaves_no_run_behind(train: Command, runs: SearchRuns) -> None:
    before = {run.info.run_id for run in runs()}
    done = train("clip.value=${nope}", "trainer=debug")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert {run.info.run_id for run in runs()} == before
