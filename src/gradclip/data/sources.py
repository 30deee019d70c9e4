"""Where tables come from: made by scikit-learn, packaged with it, or a user's own file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes, make_regression
from sklearn.model_selection import train_test_split

from gradclip.data.checks import check_table
from gradclip.errors import DataError, first_line

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Table:
    """A table, and which of its rows train and which test.

    Attributes:
        name: what the table is called in the store.
        source: where it came from, for the store.
        features: the input columns, one row an example.
        target: the column to predict, in its own unit.
        categorical: names of the input columns to encode one-hot.
        train_rows: positions of the training rows.
        test_rows: positions of the test rows.
    """

    name: str
    source: str
    features: pd.DataFrame
    target: pd.Series
    categorical: tuple[str, ...]
    train_rows: Rows
    test_rows: Rows

    def frames(self) -> dict[str, pd.DataFrame | None]:
        """All columns, for ``training`` and for ``testing``."""
        frame = self.features.assign(**{str(self.target.name): self.target})
        return {"training": frame.iloc[self.train_rows], "testing": frame.iloc[self.test_rows]}


def regression(
    samples: int = 1000, features: int = 20, noise: float = 0.1, random_state: int = 1, test_fraction: float = 0.5
) -> Table:
    """Make the tutorial's table with scikit-learn's ``make_regression``; the last rows test.

    Example:
        >>> table = regression()
        >>> table.features.shape, len(table.train_rows), len(table.test_rows)
        ((1000, 20), 500, 500)
    """
    inputs, target = make_regression(samples, features, noise=noise, random_state=random_state)
    first_test_row = samples - round(samples * test_fraction)
    rows = np.arange(samples)
    return Table(
        name="regression",
        source=f"sklearn.datasets.make_regression({samples}, {features}, noise={noise}, random_state={random_state})",
        features=pd.DataFrame(inputs, columns=[f"x{column}" for column in range(features)]),
        target=pd.Series(target, name="y"),
        categorical=(),
        train_rows=rows[:first_test_row],
        test_rows=rows[first_test_row:],
    )


def diabetes(test_fraction: float = 0.25, split_seed: int = 0) -> Table:
    """Load scikit-learn's diabetes set, its measurements in their own units.

    Example:
        >>> diabetes().features.shape
        (442, 10)
    """
    bunch = load_diabetes(as_frame=True, scaled=False)
    train_rows, test_rows = _split(len(bunch.target), test_fraction, split_seed)
    source = "sklearn.datasets.load_diabetes(scaled=False)"
    return Table("diabetes", source, bunch.data.astype(float), bunch.target, (), train_rows, test_rows)


def table(
    path: str,
    target: str,
    features: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    test_fraction: float = 0.25,
    split_seed: int = 0,
) -> Table:
    """Read a user's CSV or Parquet file.

    Args:
        path: the file, ending in .csv or .parquet.
        target: the column to predict.
        features: the input columns; None means all but the target.
        categorical: those of them to encode one-hot.
        test_fraction: share of the rows kept for testing.
        split_seed: seed of the shuffle before the split.

    Raises:
        DataError: the file cannot be read, or a column is missing, constant, not numeric or holds a gap.
    """
    frame = read_frame(Path(path))
    columns = [name for name in frame.columns if name != target] if features is None else list(features)
    check_table(frame, columns, target, categorical)
    train_rows, test_rows = _split(len(frame), test_fraction, split_seed)
    return Table(
        name=Path(path).stem,
        source=str(Path(path).resolve()),
        features=frame[columns],
        target=frame[target].astype(float),
        categorical=tuple(categorical),
        train_rows=train_rows,
        test_rows=test_rows,
    )


SOURCES: dict[str, Callable[..., Table]] = {"regression": regression, "diabetes": diabetes, "table": table}


def read_frame(path: Path) -> pd.DataFrame:
    """Read a CSV or Parquet file; a named index becomes a column, categories become what they stand for.

    Raises:
        DataError: the file is empty or cannot be read.
    """
    try:
        frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        frame = frame.reset_index(drop=frame.index.names == [None])
    except pd.errors.EmptyDataError as error:
        raise DataError(f"data.path: got '{path}'; the file is empty") from error
    except (ValueError, OSError) as error:  # pandas' and Arrow's parsing errors are ValueErrors
        raise DataError(f"data.path: got '{path}'; cannot be read: {first_line(error)}") from error
    categories = dict.fromkeys(frame.select_dtypes("category"), object)
    return frame.astype(categories).infer_objects().rename(columns=str)


def _split(rows: int, test_fraction: float, split_seed: int) -> tuple[Rows, Rows]:
    if rows < 4:
        raise DataError(f"data: got {rows} rows; needs at least 4")
    try:
        train_rows, test_rows = train_test_split(np.arange(rows), test_size=test_fraction, random_state=split_seed)
    except ValueError as error:
        raise DataError(f"data.test_fraction: got {test_fraction}; leaves no rows to train on of {rows}") from error
    return train_rows, test_rows
