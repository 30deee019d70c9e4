"""Tables are read from files; docs/odd-tables.md has further cases, which test_odd_files.py tests."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradclip.data import files
from gradclip.data.files import read_file
from gradclip.errors import DataError


def read(folder: Path, content: bytes | str, name: str = "table.csv", **form: str) -> pd.DataFrame:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_file(path, **form)[0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a;b;c\n1,5;2;x\n1.000,25;3;y\n", {"a": [1.5, 1000.25], "b": [2, 3], "c": ["x", "y"]}),
        ("a;b\n1.000;2,5\n2.000;3\n", {"a": [1000, 2000], "b": [2.5, 3.0]}),  # 1.000 is a thousand beside 2,5
        ("a;b\n1.5;x\n2.5;y\n", {"a": [1.5, 2.5], "b": ["x", "y"]}),
        ("d;y\n01.02.2020;1,5\n13.02.2020;2,5\n", {"d": ["01.02.2020", "13.02.2020"], "y": [1.5, 2.5]}),
        ("a, m2;b\n1;2\n3;4\n", {"a, m2": [1, 3], "b": [2, 4]}),
        ("a b y\n1 2 3\n4  5 6\n", {"a": [1, 4], "b": [2, 5], "y": [3, 6]}),
        ("a,b\nNA,1\nSA,5\nNone,3\n", {"a": ["NA", "SA", "None"], "b": [1, 5, 3]}),
        ("a,b\n123456789012345678901234567890,1\n3,5\n", {"a": [1.2345678901234568e29, 3.0], "b": [1, 5]}),
        pytest.param(
            f"a,b\n{'9' * 400},1\n-{'9' * 400},5\n",
            {"a": [np.inf, -np.inf], "b": [1, 5]},
            marks=pytest.mark.skipif(pd.__version__ < "3", reason="pandas 2 reads such integers as text"),
        ),
        ("a,b\n1,2,\n3,4,\n", {"a": [1, 3], "b": [2, 4]}),
        ("a\n0x10\n1_0\n", {"a": ["0x10", "1_0"]}),
        ("a\tb\n1.5e3\t1\n950\t2\n3\t4\n", {"a": [1500, 950, 3], "b": [1, 2, 4]}),
        ("a;b\nnode.org;1\n950;2\n3;4\n", {"a": ["node.org", "950", "3"], "b": [1, 2, 4]}),
    ],
)
def test_cells_are_read_with_the_intended_values(tmp_path, content, expected):
    assert read(tmp_path, content).to_dict("list") == expected


@pytest.mark.parametrize("end", ["\n", ""])
def test_an_ambiguous_decimal_sign_is_refused_in_the_last_row_too(tmp_path, end):
    with pytest.raises(DataError, match=r"^data\.decimal: got '1\.050' beside numbers without '\.' in column 'a'; set"):
        read(tmp_path, f"a;b\n950;1\n940;2\n1.050;3{end}")


def test_a_line_that_the_sample_cuts_is_not_taken_for_a_whole_one(tmp_path, monkeypatch):
    text = "a;b\n1;950\n2;940\n3;1.0505\n"  # its first 23 bytes end in 1.050
    monkeypatch.setattr(files, "SAMPLE", 23)
    assert read(tmp_path, text)["b"].tolist() == [950, 940, 1.0505]


def test_gaps_among_numbers_and_booleans_are_missing_values(tmp_path):
    frame = read(tmp_path, "a,b\nTrue,1\n,?\nNA,3\nfalse,null\n")
    assert frame["a"].isna().tolist() == [False, True, True, False]
    assert frame["a"].dropna().tolist() == [True, False]
    assert frame["b"].isna().tolist() == [False, True, False, True]


def test_an_explicit_setting_replaces_detection(tmp_path):
    text = "a;b|c\n1;2|3\n"
    assert list(read(tmp_path, text)) == ["a", "b|c"]
    assert list(read(tmp_path, text, delimiter="pipe")) == ["a;b", "c"]
    assert read(tmp_path, 'a,b\n"1,5",2\n', decimal="comma")["a"].tolist() == [1.5]
    assert read(tmp_path, "a;b\n1,5;x\n", decimal="point")["a"].tolist() == ["1,5"]
    assert read(tmp_path, "ä;b\n1;2\n".encode("cp437"), encoding="cp437").columns[0] == "ä"


def test_text_too_large_for_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_TEXT", 2**20)
    with pytest.raises(DataError, match=r"^data.path: got '.*bomb.csv.gz'; has more than 0 GiB of text$"):
        read(tmp_path, gzip.compress(b"a,b\n" + b"1,2\n" * 2**19), "bomb.csv.gz")


def test_too_many_cells_for_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_TABLE", 8)
    pd.DataFrame({"a": range(5), "b": range(5)}).to_parquet(tmp_path / "table.parquet")
    with pytest.raises(DataError, match=r"has 10 cells, at most 8 can be read$"):
        read_file(tmp_path / "table.parquet")
    for content in ("a,b,c\n1\n2\n3\n4", "a b c\n1\n2\n3\n4", "sep=;\na;b;c\n1\n2\n3\n4"):  # short rows
        with pytest.raises(DataError, match=r"has 9 cells, at most 8 can be read$"):
            read(tmp_path, content)
    assert read(tmp_path, "a,b\n1,2\n3,4\n").shape == (2, 2)


def test_a_folder_of_parquet_files_is_read_as_one_table(tmp_path):
    frame = pd.DataFrame({"a": [1, 2, 3, 4], "kind": ["x", "x", "y", "y"]})
    frame.to_parquet(tmp_path / "parts", partition_cols=["kind"])
    assert read_file(tmp_path / "parts")[0].sort_values("a")["kind"].tolist() == ["x", "x", "y", "y"]


@pytest.mark.parametrize(
    ("content", "name", "problem"),
    [
        ("a,b\n1,2\n\n1,2,3\n", "table.csv", "line 4 has 3 fields instead of 2"),
        ('a,b\n1,2\n"1,2\n3,4\n', "table.csv", "a quotation mark is not closed"),
        ("a,b\n1,2\n", "table.parquet", "the file is truncated or is not Parquet"),
    ],
)
def test_a_malformed_file_is_refused_without_the_terms_of_a_library(tmp_path, content, name, problem):
    with pytest.raises(DataError, match=rf"^data.path: got '.*{name}'; {problem}$"):
        read(tmp_path, content, name)
