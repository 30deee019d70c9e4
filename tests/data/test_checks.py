"""A table that cannot be trained on is refused with setting, value, row and column, all problems at once."""

import numpy as np
import pandas as pd
import pytest

from gradclip.data import checks
from gradclip.data.checks import (
    check_column_settings,
    check_encoded_size,
    check_not_constant,
    check_values,
    find_categories,
    holds_classes,
)
from gradclip.errors import DataError

GOOD = {"size": [1.0, 2.0, 3.0, 4.0], "city": ["Bonn", "Ulm", "Ulm", "Bonn"], "price": [5.0, 6.0, 7.0, 8.0]}
ROWS = " (rows are counted from 1, without the header)"


def check(changes=(), features=("size",), target="price", categorical=(), **settings):
    frame = pd.DataFrame(GOOD | dict(changes))
    check_column_settings(frame, features, target, categorical)
    check_values(frame, features, target, categorical, **settings)


def test_a_good_table_passes():
    check()
    check(features=("size", "city"), categorical=("city",))
    check({"city": [True, False, True, True]}, features=("size", "city"))
    check({"price": [1, 2, 3, 4]})
    check({"price": ["a", "b", "a", "b"]}, is_classification=True)
    check({"size": [1.0, np.nan, 3.0, 4.0]}, missing="median")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"target": "pric"},
            "data.target: got 'pric'; no such column (did you mean 'price'?), choose from size, city, price",
        ),
        (
            {"features": ["sizes"]},
            "data.features: got 'sizes'; no such column (did you mean 'size'?), choose from size, city, price",
        ),
        (
            {"features": ["size", "city"], "categorical": ["town"]},
            "data.categorical: got 'town'; no such column, choose from size, city, price",
        ),
        ({"features": []}, "data.features: got none; at least one input column is needed"),
        ({"features": ["size", "size"]}, "data.features: got 'size' twice"),
        ({"categorical": ["city"]}, "data.categorical: got 'city'; must be one of data.features"),
        (
            {"features": ["size", "city"], "categorical": ["city", "city"]},
            "data.categorical: got 'city' twice",
        ),
        (
            {"changes": {"price": ["a", ["b"], "a", "b"]}, "is_classification": True},
            f"data.target: neither numbers nor text in 'price' (row 2: ['b']){ROWS}",
        ),
        (
            {"changes": {"city": ["Bonn", ["Ulm"], "Ulm", "Ulm"]}, "features": ["city"], "categorical": ["city"]},
            f"data.features: neither numbers nor text in 'city' (row 2: ['Ulm']){ROWS}; to train anyway, set "
            "data.exclude=[city]",
        ),
        (
            {"changes": {"size": [1.0, 2.0, 1e300, 4.0]}},
            f"data.features: infinite, or larger than 3.4e+38, in 'size' (row 3: 1e+300, 1 in total){ROWS}",
        ),
        (
            {"changes": {"city": [[1.0], [2.0], [3.0], [4.0]]}, "features": ["size", "city"]},
            f"data.features: neither numbers nor text in 'city' (row 1: [1.0]){ROWS}; to train anyway, set "
            "data.exclude=[city]",
        ),
        (
            {"changes": {"price": [1.0, "2", "three", "four"]}},
            f"data.target: not a number in 'price' (row 3: 'three'){ROWS}",
        ),
        (
            {"features": ["size", "city"]},
            f"data.features: text in 'city' (row 1: 'Bonn', 2 different){ROWS}; to train anyway, set "
            "data.categorical=[city]",
        ),
        (
            {"changes": {"price": [1.0, np.nan, 2.0, np.nan]}},
            f"data.target: missing in 'price' (2, first in row 2){ROWS}; to train anyway, set data.missing=drop",
        ),
        (
            {"changes": {"size": [-np.inf, 2.0, 3.0, 4.0]}},
            f"data.features: infinite, or larger than 3.4e+38, in 'size' (row 1: -inf, 1 in total){ROWS}",
        ),
        (
            {"changes": {"city": ["Bonn", np.nan, "Ulm", "Ulm"]}, "features": ["city"], "categorical": ["city"]},
            f"data.features: missing in 'city' (1, first in row 2){ROWS}; to train anyway, set data.missing=median",
        ),
        (
            {"changes": {"size": pd.array([1, None, 3, 4], dtype="Int64")}},
            f"data.features: missing in 'size' (1, first in row 2){ROWS}; to train anyway, set data.missing=median",
        ),
        (
            {"changes": {"size": [1.0, np.nan, 3.0, 4.0], "price": [1.0, np.nan, 3.0, 4.0]}},
            f"data: missing in 'price' (1, first in row 2), 'size' (1, first in row 2){ROWS}; to train anyway, set "
            "data.missing=median",
        ),
        (
            {"changes": {"city": ["a", None, "c", "d"]}, "features": ["city"], "is_series": True},
            f"data.features: text with too many values for a category in 'city' (row 1: 'a', 3 different); missing in "
            f"'city' (1, first in row 2){ROWS}; to train anyway, set data.exclude=[city]",
        ),
    ],
)
def test_an_error_names_setting_value_row_and_column(arguments, message):
    with pytest.raises(DataError) as caught:
        check(**arguments)
    assert str(caught.value) == message


def test_all_problems_are_reported_together_with_the_settings_that_accept_them():
    frame = {"a": [1.0, None] * 30, "name": [f"n{row}" for row in range(60)], "kind": list("abcd" * 15)}
    frame |= {"when": pd.date_range("2020", periods=60), "code": [f"c{row % 25}" for row in range(60)]}
    with pytest.raises(DataError) as caught:
        check_values(pd.DataFrame(frame | {"y": range(60)}), [*frame], "y")
    problems, _, settings = str(caught.value).partition("; to train anyway, set ")
    assert settings == "data.missing=median data.exclude=[name,when] data.categorical=[kind,code]"
    assert all(f"'{name}' (" in problems for name in frame)


def test_text_with_few_values_and_categories_of_pandas_are_detected_as_categories():
    rows = 60
    frame = pd.DataFrame(
        {
            "few": list("abc" * 20),
            "many": [f"c{row % 21}" for row in range(rows)],
            "bad cells": [*"1234567890" * 5, *"x" * 10],
            "declared": pd.Categorical([f"c{row % 21}" for row in range(rows)]),
            "number": range(rows),
            "dates": ["2020-01-01"] * rows,
        }
    )
    assert find_categories(frame, [*frame]) == ["few", "declared"]
    assert find_categories(frame.iloc[:5], ["few"]) == []  # three values in five rows are not few


@pytest.mark.parametrize(
    ("values", "task", "expected"),
    [
        (["a", "b"], "auto", True),
        ([True, None], "auto", True),
        (pd.Categorical([1, 2]), "auto", True),
        ([0, 1], "auto", False),
        (["1", "x"], "auto", False),  # more likely a mistyped number
        ([0, 1], "classification", True),
        (["a", "b"], "regression", False),
    ],
)
def test_values_or_the_task_decide_whether_a_target_is_classes(values, task, expected):
    assert holds_classes(pd.Series(values), task) is expected


def test_categories_that_would_not_fit_in_memory_are_refused(monkeypatch):
    monkeypatch.setattr(checks, "MOST_ENCODED", 59)
    frame = pd.DataFrame({"few": list("ab" * 10), "many": list("abcd" * 5)})
    with pytest.raises(DataError, match=r"^data.categorical: got 6 categories in 20 rows, 4 of them in 'many'; "):
        check_encoded_size(frame, ["few", "many"])
    check_encoded_size(frame, ["few"])


def test_constant_training_targets_are_refused():
    with pytest.raises(DataError) as caught:
        check_not_constant(pd.Series([2.0, 2.0], name="price"))
    assert str(caught.value) == ("data.target: column 'price' is constant (2.0) in the training rows; nothing to learn")
    check_not_constant(pd.Series([2.0, 2.1], name="price"))
