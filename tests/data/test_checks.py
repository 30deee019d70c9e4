import numpy as np
import pandas as pd
import pytest

from gradclip.data.checks import check_not_constant, check_table
from gradclip.data.sources import table
from gradclip.errors import DataError

GOOD = {"size": [1.0, 2.0, 3.0, 4.0], "city": ["Bonn", "Ulm", "Ulm", "Bonn"], "price": [5.0, 6.0, 7.0, 8.0]}


def check(changes=(), features=("size",), target="price", categorical=()):
    check_table(pd.DataFrame(GOOD | dict(changes)), features, target, categorical)


def test_a_good_table_passes():
    check()
    check(features=("size", "city"), categorical=("city",))
    check({"city": [True, False, True, True]}, features=("size", "city"))
    check({"price": [1, 2, 3, 4]})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"target": "pric"},
            "data.target: got 'pric'; no such column (did you mean 'price'?), there are size, city, price",
        ),
        (
            {"features": ["sizes"]},
            "data.features: got 'sizes'; no such column (did you mean 'size'?), there are size, city, price",
        ),
        (
            {"features": ["size", "city"], "categorical": ["town"]},
            "data.categorical: got 'town'; no such column, there are size, city, price",
        ),
        ({"features": ["size", "price"]}, "data.features: got 'price'; that is the target"),
        ({"features": []}, "data.features: got none; at least one input column is needed"),
        ({"categorical": ["city"]}, "data.categorical: got 'city'; must be one of data.features"),
        (
            {"features": ["size", "city"], "categorical": ["city", "city"]},
            "data.categorical: got 'city' twice",
        ),
        (
            {"changes": {"city": ["Bonn", ["Ulm"], "Ulm", "Ulm"]}, "features": ["city"], "categorical": ["city"]},
            "data.categorical: column 'city', row 2: got ['Ulm']; must be text, a number or a boolean",
        ),
        (
            {"changes": {"size": [1.0, 2.0, 1e300, 4.0]}},
            "data.features: column 'size', row 3: got 1e+300; must be a finite value, at most 3.4e+38 "
            "(1 such in this column; rows are counted from 1, without the header)",
        ),
        (
            {"changes": {"city": [[1.0], [2.0], [3.0], [4.0]]}, "features": ["size", "city"]},
            "data.features: column 'city' is not numeric (row 1: [1.0])",
        ),
        (
            {"changes": {"price": [1.0, "2", "three", "four"]}},
            "data.target: column 'price' is not numeric (row 3: 'three')",
        ),
        (
            {"features": ["size", "city"]},
            "data.features: column 'city' is not numeric (row 1: 'Bonn'); encode it with data.categorical=[city]",
        ),
        (
            {"changes": {"price": [1.0, np.nan, 2.0, np.nan]}},
            "data.target: column 'price', row 2: got nan; must be a finite value, at most 3.4e+38 "
            "(2 such in this column; rows are counted from 1, without the header)",
        ),
        (
            {"changes": {"size": [-np.inf, 2.0, 3.0, 4.0]}},
            "data.features: column 'size', row 1: got -inf; must be a finite value, at most 3.4e+38 "
            "(1 such in this column; rows are counted from 1, without the header)",
        ),
        (
            {"changes": {"city": ["Bonn", np.nan, "Ulm", "Ulm"]}, "features": ["city"], "categorical": ["city"]},
            "data.categorical: column 'city', row 2: got nan; must not be missing "
            "(1 such in this column; rows are counted from 1, without the header)",
        ),
        (
            {"changes": {"size": pd.array([1, None, 3, 4], dtype="Int64")}},
            "data.features: column 'size', row 2: got <NA>; must be a finite value, at most 3.4e+38 "
            "(1 such in this column; rows are counted from 1, without the header)",
        ),
    ],
)
def test_refusal_names_setting_value_row_and_column(arguments, message):
    with pytest.raises(DataError) as caught:
        check(**arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"^data.path: got '.*table.csv'; the file is empty$"),
        ("size,price\n", "^data.path: the file has a header and no rows$"),
        ("size,price\n1,2\n2,\n3,4\n4,5\n", "^data.target: column 'price', row 2: got nan"),
        ("size,price\n1,2\n2,5\nx,4\n4,5\n", r"^data.features: column 'size' is not numeric \(row 3: 'x'\)"),
        ("price\n1\n2\n3\n4\n", "^data.features: got none"),
    ],
)
def test_bad_files_are_refused(tmp_path, text, message):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        table(str(path), "price")


def test_constant_training_targets_are_refused():
    with pytest.raises(DataError) as caught:
        check_not_constant(pd.Series([2.0, 2.0], name="price"))
    assert str(caught.value) == ("data.target: column 'price' is constant (2.0) in the training rows; nothing to learn")
    check_not_constant(pd.Series([2.0, 2.1], name="price"))


def test_a_feature_named_twice_is_refused():
    with pytest.raises(DataError, match=r"^data.features: got 'size'"):
        check(features=["size", "size"])
