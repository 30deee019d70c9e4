"""The input example of a model is read as it was written, whatever its columns are called."""

import warnings

import numpy as np
import pandas as pd
import pytest

from gradclip.tracking.model_example import read_example, write_example

FRAME = pd.DataFrame(
    {
        "date": [1e-9, np.nan, 1e300],  # a name that pandas may take for a date
        "modified": [1_700_000_000, 2**62 + 1, -5],
        "narrow": np.array([0.1, np.nan, 2.5], dtype=np.float32),
        "text": ["a", "1", "ü"],
        "flag": [True, False, True],
        "missing": [np.nan] * 3,
    }
)


def test_a_frame_is_the_same_after_a_round_trip_without_deprecated_calls(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = read_example(tmp_path / write_example(tmp_path, FRAME))
    pd.testing.assert_frame_equal(read, FRAME)


@pytest.mark.parametrize("array", [np.array([[0.1, -2.5]]), np.array([[1, 2]], dtype=np.int64)])
def test_an_array_is_the_same_after_a_round_trip(tmp_path, array):
    read = read_example(tmp_path / write_example(tmp_path, array))
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)
