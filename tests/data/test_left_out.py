"""Columns and rows that cannot be inputs are left out of a table, and a note says which."""

import numpy as np
import pandas as pd
import pytest

from gradclip.data.left_out import input_columns, leave_out_rows
from gradclip.data.sources import table
from gradclip.data.tabular import TabularData


@pytest.mark.parametrize(
    ("unnamed", "is_left_out"),
    [
        ([0, 1, 2, 3], True),
        ([2, 0, 3, 1], True),  # the rows were shuffled
        ([17, 4, 90, 33], True),  # the rows are a sample
        ([np.nan] * 4, True),
        ([0.5, 1.5, 2.5, 3.5], False),
        ([1, 1, 2, 2], False),
    ],
)
def test_an_unnamed_column_that_identifies_the_rows_is_not_an_input(unnamed, is_left_out):
    frame = pd.DataFrame({"Unnamed: 0": unnamed, "x": [3.0, 1.0, 2.0, 5.0], "y": [1, 2, 3, 4]})
    columns, notes = input_columns(frame, ["y"])
    assert columns == (["x"] if is_left_out else ["Unnamed: 0", "x"])
    assert len(notes) == is_left_out


def test_a_named_column_that_counts_the_rows_is_an_input_with_a_note():
    columns, (note,) = input_columns(pd.DataFrame({"id": [1, 2, 3], "x": [3, 1, 2], "y": [1, 2, 3]}), ["y"])
    assert columns == ["id", "x"]
    assert note == "id counts the rows; to exclude it, set data.exclude=[id]"


def test_rows_keep_their_numbers_in_the_file(tmp_path):
    gaps = [row % 4 == 0 for row in range(40)]
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=40), "y": range(40)})
    frame.loc[gaps, "x"] = np.nan
    frame.to_csv(tmp_path / "t.csv", index=False)
    data = TabularData(table(str(tmp_path / "t.csv"), "y", missing="drop"), batch_size=8)
    rows = data.batch_indices(epoch=1, batch=0)
    assert len(rows) == 8
    assert all(row % 4 for row in rows)
    kept, _ = leave_out_rows(frame, ["x"], "y", "median")
    assert len(kept) == 40


def test_missing_values_are_replaced_by_statistics_of_the_training_rows(tmp_path):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"x": random.normal(size=40), "kind": random.choice(["a", "b", ""], 40), "y": random.random(40)}
    )
    frame.loc[::5, "x"] = np.nan
    frame.to_csv(tmp_path / "t.csv", index=False)
    read = table(str(tmp_path / "t.csv"), "y", missing="median")
    training = read.features.iloc[read.rows["train"]]
    filled = TabularData(read, batch_size=8).scaling.scale_inputs(pd.DataFrame({"x": [None], "kind": [None]}))
    assert filled[0, 0] == pytest.approx(training["x"].median())
    assert filled[0, 1:].tolist() == [training["kind"].mode()[0] == kind for kind in "ab"]
