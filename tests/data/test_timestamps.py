"""Timestamps are read as numbers or dates in the meaning intended; ambiguous dates are refused."""

import numpy as np
import pandas as pd
import pytest

from gradclip.data.timestamps import stamps_as_numbers
from gradclip.errors import DataError

HOUR = 3600 * 10**9


def steps(*values, **settings):
    return np.diff(stamps_as_numbers(pd.Series(values, name="when"), **settings)).tolist()


@pytest.mark.parametrize(
    ("values", "settings", "expected"),
    [
        (["2024-03-31 01:00+01:00", "2024-03-31 03:00+02:00", "2024-03-31 04:00+02:00"], {}, [HOUR, HOUR]),  # DST
        (["2024-10-27T02:00:00+02:00", "2024-10-27T02:00:00+01:00"], {}, [HOUR]),
        (["2020-01-01 23:00", "2020-01-02"], {}, [HOUR]),
        (["01.02.2020", "02.02.2020", "13.02.2020"], {}, [24 * HOUR, 264 * HOUR]),  # dots: the day comes first
        (["01.02.2020 22:00", "01.02.2020 23:00"], {}, [HOUR]),
        (["01/02/2020", "13/02/2020"], {}, [288 * HOUR]),
        (["02/01/2020", "02/13/2020"], {}, [288 * HOUR]),
        (["01/02/2020", "02/02/2020"], {"day_first": True}, [24 * HOUR]),
        (["01/02/2020", "02/02/2020"], {"day_first": False}, [31 * 24 * HOUR]),
        ([pd.Timestamp("2020-01-01"), pd.Timestamp("2020-01-02")], {}, [24 * HOUR]),
        ([1, 3], {}, [2]),
    ],
)
def test_dates_are_read_with_their_intended_meaning(values, settings, expected):
    assert steps(*values, **settings) == expected


@pytest.mark.parametrize("kind", ["int8", "uint8", "uint64", "UInt32", "bool"])
def test_descending_small_and_unsigned_integers_are_detected(kind):
    assert np.diff(stamps_as_numbers(pd.Series([1, 0], dtype=kind))).tolist() == [-1]


def test_the_steps_of_small_integers_may_exceed_their_type():
    assert np.diff(stamps_as_numbers(pd.Series([-100, 100], dtype="int8"))).tolist() == [200]


@pytest.mark.parametrize(
    ("values", "settings", "message"),
    [
        (["01/02/2020", "02/02/2020"], {}, "row 1: got '01/02/2020'; day or month first? set data.day_first=true or "),
        (["2020-01-01", "soon"], {}, "row 2: got 'soon'; must be a date in the format of '2020-01-01'"),
        (
            ["02/01/2020", "02/13/2020"],
            {"day_first": True},
            "row 2: got '02/13/2020'; must be a date in the format of ",
        ),
        (["soon", "2020-01-01"], {}, "row 1: got 'soon'; must be a number or a date"),
        ([b"\xff", b"\xff"], {}, "row 1: got b'\\xff'; must be a number or a date"),
    ],
)
def test_an_ambiguous_or_invalid_date_is_refused_with_its_row(values, settings, message):
    with pytest.raises(DataError) as caught:
        steps(*values, **settings)
    assert str(caught.value).startswith(f"data.time: column 'when', {message}")
