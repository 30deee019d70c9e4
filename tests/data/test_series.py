"""Windows of a time series stay within one series, and the splits follow one another in time."""

import numpy as np
import pandas as pd
import pytest
import torch

from gradclip import SeriesData
from gradclip.errors import DataError
from gradclip.scores import MSE

ROWS = 40


def make_frame(groups=("a", "b")):
    rows = np.arange(ROWS * len(groups), dtype=float)
    return pd.DataFrame(
        {
            "when": [*pd.date_range("2026-01-01", periods=ROWS, freq="h")] * len(groups),
            "who": np.repeat(groups, ROWS),
            "x": rows,  # row numbers, which identify the rows of a window
            "y": rows * 10,
        }
    )


@pytest.fixture
def write(tmp_path):
    def to_file(frame, name="series.csv"):
        file = tmp_path / name
        frame.to_csv(file, index=False) if name.endswith("csv") else frame.to_parquet(file)
        return str(file)

    return to_file


def make(write, frame=None, **settings):
    given = {
        "path": write(make_frame() if frame is None else frame),
        "target": "y",
        "time": "when",
        "group": "who",
        "window": 5,
        "horizon": 2,
        "batch_size": 8,
        "scale_inputs": "none",
        "scale_target": "none",
    }
    return SeriesData(**given | settings)


def all_windows(loader):
    inputs, target = (torch.cat(parts).numpy() for parts in zip(*loader, strict=True))
    return inputs, target


def test_a_window_has_rows_of_one_series_and_its_target_lies_the_horizon_ahead(write):
    data = make(write)
    for loader in data.val_dataloader():
        inputs, target = all_windows(loader)
        first = inputs[:, 0, 0]
        np.testing.assert_array_equal(inputs[:, :, 0], first[:, None] + np.arange(5))
        np.testing.assert_array_equal(inputs[:, :, 1], inputs[:, :, 0] * 10)
        np.testing.assert_array_equal(target[:, 0], (first + 4 + 2) * 10)
        assert (first // ROWS == (first + 6) // ROWS).all()  # no window spans two series


def test_each_series_is_split_in_time_and_no_target_is_in_both_splits(write):
    data = make(write, test_fraction=0.25)
    targets = [np.sort(all_windows(loader)[1][:, 0] / 10) for loader in data.val_dataloader()]
    expected_train = [*range(6, 30), *range(46, 70)]
    expected_test = [*range(30, 40), *range(70, 80)]
    np.testing.assert_array_equal(targets[0], expected_train)
    np.testing.assert_array_equal(targets[1], expected_test)


def test_validation_targets_lie_between_training_and_test_targets_in_each_series(write):
    data = make(write, test_fraction=0.25, validation_fraction=0.2, scale_target="standard")
    scale, mean = data.target_scale, np.array([*range(24), *range(40, 64)]).mean()  # training rows only
    targets = [np.sort(all_windows(loader)[1][:, 0] * scale / 10 + mean) for loader in data.val_dataloader()]
    expected = [[*range(6, 24), *range(46, 64)], [*range(24, 30), *range(64, 70)], [*range(30, 40), *range(70, 80)]]
    for found, rows in zip(targets, expected, strict=True):
        np.testing.assert_allclose(found, rows, atol=1e-3)
    assert {split: len(frame) for split, frame in data.frames().items()} == {"train": 48, "validation": 12, "test": 20}
    trained, validated = (np.array(rows) * 10 for rows in expected[:2])
    assert data.score_scale.baseline == pytest.approx(np.var(trained))
    assert data.score_scale.baseline_on("validation") == pytest.approx(np.mean((validated - trained.mean()) ** 2))


def test_every_window_is_in_one_batch_of_the_epoch_and_the_rows_of_a_batch_are_known(write):
    data = make(write)
    loader = data.train_dataloader()
    inputs, _ = all_windows(loader)
    np.testing.assert_array_equal(np.sort(inputs[:, 0, 0]), np.sort(all_windows(data.val_dataloader()[0])[0][:, 0, 0]))
    first_batch = next(iter(loader))[0]
    assert data.batch_indices(1, 0) == tuple(sorted(first_batch[:, -1, 0].int().tolist()))


def test_scaling_is_fitted_on_the_training_rows(write):
    data = make(write, scale_inputs="standard", scale_target="minmax")
    before = np.array([*range(30), *range(40, 70)], dtype=float)
    inputs, target = all_windows(data.val_dataloader()[1])
    np.testing.assert_allclose(
        inputs[:, 0, 0] * before.std() + before.mean(), [*range(24, 34), *range(64, 74)], atol=1e-4
    )
    np.testing.assert_allclose(target[:, 0] * 690, [*range(300, 400, 10), *range(700, 800, 10)], rtol=1e-5)
    assert data.target_scale == pytest.approx(690)


def test_shape_score_scale_and_schema_describe_the_windows(write):
    data = make(write)
    assert (data.shape.example, data.shape.outputs) == ((5, 2), (1,))
    targets = np.array([*range(6, 30), *range(46, 70)]) * 10.0
    assert data.score_scale.score == MSE
    assert data.score_scale.baseline == pytest.approx(targets.var())
    assert data.schema.examples.shape == (3, 5, 2)
    assert data.schema.columns == ("x", "y")


def test_one_series_with_selected_columns_is_read_from_parquet(write):
    frame = make_frame(("a",)).assign(when=np.arange(ROWS))
    data = make(write, path=write(frame, "one.parquet"), group=None, features=["x"])
    assert data.shape.example == (5, 1)
    assert data.name == "one"


def test_uneven_steps_can_be_allowed(write):
    months = make_frame(("a",)).assign(when=pd.date_range("2020-01-01", periods=ROWS, freq="MS"))
    with pytest.raises(DataError, match=r"steps must be even, unless data\.allow_gaps=true"):
        make(write, months)
    assert len(make(write, months, allow_gaps=True).sets["train"]) == 24


def swap(frame, one, other):
    order = list(range(len(frame)))
    order[one], order[other] = order[other], order[one]
    return frame.iloc[order]


def put(frame, row, column, value):
    changed = frame.astype({column: object})
    changed.loc[row, column] = value
    return changed


BAD_SERIES = {
    "window longer than a series": (
        {"window": 39},
        lambda frame: frame,
        r"^data\.window: got 39, and data\.horizon 2; series 'a' has 40 rows, at least 41 are needed$",
    ),
    "unsorted": (
        {},
        lambda frame: swap(frame, 10, 11),
        r"^data\.time: column 'when', row 12: got 2026-01-01 10:00:00, after 2026-01-01 11:00:00; must be later",
    ),
    "repeated time": (
        {},
        lambda frame: put(frame, 50, "when", frame.when[49]),
        r"^data\.time: column 'when', row 51: got 2026-01-01 09:00:00, after .*; must not repeat the row before",
    ),
    "uneven steps": (
        {},
        lambda frame: frame.drop(index=20),
        r"^data\.time: column 'when', row 21: got 2026-01-01 21:00:00, after 2026-01-01 19:00:00; steps must be even",
    ),
    "missing time": (
        {},
        lambda frame: put(frame, 3, "when", None),
        r"^data\.time: column 'when', row 4: missing \(1 in total\); every row needs one$",
    ),
    "invalid time": (
        {},
        lambda frame: put(frame, 3, "when", "soon"),
        r"^data\.time: column 'when', row 4: got 'soon'; must be a date in the format of '2026-01-01 00:00:00'$",
    ),
    "series in pieces": (
        {},
        lambda frame: frame.sort_values("when"),
        r"^data\.group: column 'who', row 3: series 'a' starts again; the rows of a series must be contiguous",
    ),
    "missing value": (
        {},
        lambda frame: put(frame, 3, "x", None),
        r"^data\.features: missing in 'x' \(1, first in row 4\) \(rows are counted from 1, without the header\)$",
    ),
    "text in a numeric column": (
        {},
        lambda frame: put(frame, 3, "x", "many"),
        r"^data\.features: not a number in 'x' \(row 4: 'many'\) \(rows are counted from 1, without the header\)$",
    ),
    "unknown time column": (
        {"time": "wehn"},
        lambda frame: frame,
        r"^data\.time: got 'wehn'; no such column \(did you mean 'when'\?\), choose from when, who, x, y$",
    ),
    "unknown group column": ({"group": "whom"}, lambda frame: frame, r"^data\.group: got 'whom'; no such column"),
    "unknown target column": ({"target": "z"}, lambda frame: frame, r"^data\.target: got 'z'; no such column"),
    "nothing to test": (
        {"test_fraction": 0.001},
        lambda frame: frame,
        r"^data\.test_fraction: got 0\.001; leaves none of 68 windows to test on$",
    ),
    "nothing to train on": (
        {"test_fraction": 0.99},
        lambda frame: frame,
        r"^data\.test_fraction: got 0\.99; leaves none of 68 windows to train on$",
    ),
    "nothing to validate on": (
        {"validation_fraction": 0.001},
        lambda frame: frame,
        r"^data\.validation_fraction: got 0\.001; leaves none of 48 windows to validate on$",
    ),
    "all to validate on": (
        {"validation_fraction": 0.99},
        lambda frame: frame,
        r"^data\.validation_fraction: got 0\.99; leaves none of 48 windows to train on$",
    ),
    "no horizon": (
        {"horizon": 0},
        lambda frame: frame,
        r"^data\.horizon: got 0; must be a whole number from 1 to 2147483647$",
    ),
    "no window": (
        {"window": 2.5},
        lambda frame: frame,
        r"^data\.window: got 2\.5; must be a whole number from 1 to 2147483647$",
    ),
    "negative fraction": (
        {"validation_fraction": -0.2},
        lambda frame: frame,
        r"^data\.validation_fraction: got -0\.2; must be a number of at least 0 and below 1$",
    ),
    "batch larger than the training windows": (
        {"batch_size": 64},
        lambda frame: frame,
        r"^trainer\.batch_size: got 64; there are 48 training windows$",
    ),
    "no rows": ({}, lambda frame: frame.iloc[:0], r"^data\.path: the file has a header but no rows$"),
}


@pytest.mark.parametrize("case", BAD_SERIES)
def test_series_that_are_not_suitable_for_training_are_refused(write, case):
    settings, corrupt, message = BAD_SERIES[case]
    with pytest.raises(DataError, match=message) as caught:
        make(write, corrupt(make_frame()), **settings)
    assert "\n" not in str(caught.value)


def test_the_rows_of_a_split_hold_the_target_once(write):
    assert [[*frame.columns].count("y") for frame in make(write).frames().values()] == [1, 1]
