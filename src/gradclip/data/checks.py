"""Checks of settings and of a user's table before training; every error is one line that names the setting."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from pandas.api.types import is_scalar

from gradclip.data.problems import Fix, Problem, refuse_all
from gradclip.data.typed_columns import as_floats, is_boolean, kind_of, sound_columns
from gradclip.errors import DataError, did_you_mean, first_few
from gradclip.quoting import list_of_columns
from gradclip.ranges import COUNT, FRACTION_OR_ZERO

LARGEST = float(np.finfo(np.float32).max)  # training is in float32
FEW_VALUES = 20  # a text column with at most this number of different values is a category
MOST_VALUES = 1000  # maximum number of values of a category; each becomes an input
MOST_ENCODED = 10**8  # maximum number of cells of the one-hot encoding, 0.8 GB


def check_batch_size(batch_size: int, examples: float, kind: str) -> int:
    """Return the batch size; refuse batches larger than the training split.

    Args:
        batch_size: examples per batch.
        examples: number of training examples; infinity if they are generated.
        kind: what the examples are, for the message.

    Raises:
        DataError: the batch size is not a whole number from 1 to the number of examples.
    """
    size: int = COUNT.check("trainer.batch_size", batch_size, DataError)
    if examples < size:
        raise DataError(f"trainer.batch_size: got {size}; there are {examples} training {kind}")
    return size


def check_fractions(test_fraction: float, validation_fraction: float) -> None:
    """Refuse fractions of the rows outside of [0, 1).

    Raises:
        DataError: a fraction is outside.
    """
    FRACTION_OR_ZERO.check("data.test_fraction", test_fraction, DataError)
    FRACTION_OR_ZERO.check("data.validation_fraction", validation_fraction, DataError)


def check_columns_exist(frame: pd.DataFrame, wanted: Sequence[tuple[str, str]]) -> None:
    """Refuse a table that lacks a wanted column.

    ``wanted`` has pairs of a setting and the column that it names.

    Raises:
        DataError: a column is missing; the message lists the columns of the table.
    """
    columns = [str(name) for name in frame.columns]
    for setting, name in wanted:
        if name not in columns:
            hint = did_you_mean(name, columns)
            header = ", or the file has no header" if any(column[:1].isdigit() for column in columns) else ""
            choice = first_few(columns, 20)
            raise DataError(f"{setting}: got {name!r}; no such column{hint}{header}, choose from {choice}")


def check_column_settings(
    frame: pd.DataFrame,
    features: Sequence[str],
    target: str,
    categorical: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> None:
    """Refuse settings that name a missing column, a column twice, or a column for two conflicting uses.

    Args:
        frame: the table.
        features: names of the input columns.
        target: name of the column to predict.
        categorical: names of the input columns to encode one-hot.
        exclude: names of columns to exclude.

    Raises:
        DataError: a column does not exist, is named twice or has conflicting uses, or there are no rows or no inputs.
    """
    settings = {"data.features": features, "data.categorical": categorical, "data.exclude": exclude}
    wanted = [(setting, name) for setting, names in settings.items() for name in names]
    check_columns_exist(frame, [("data.target", target), *wanted])
    for setting, names in settings.items():
        if twice := [name for name in names if list(names).count(name) > 1]:
            raise DataError(f"{setting}: got {twice[0]!r} twice")
    if not features:
        raise DataError("data.features: got none; at least one input column is needed")
    if "" in features:  # MLflow cannot store a model with such an input
        raise DataError("data.features: got a column without a name; name it, or list the others in data.features")
    for name in categorical:
        if name not in features:
            raise DataError(f"data.categorical: got {name!r}; must be one of data.features")
    for name in exclude:
        if name in features:
            raise DataError(f"data.exclude: got {name!r}; must not be one of data.features")
    if frame.empty:
        raise DataError("data.path: the file has a header but no rows")


def check_values(
    frame: pd.DataFrame,
    features: Sequence[str],
    target: str,
    categorical: Sequence[str] = (),
    is_classification: bool = False,
    missing: str = "refuse",
    is_series: bool = False,
) -> None:
    """Refuse a table with values that cannot be trained on; one error lists all of them.

    Args:
        frame: the table, after rows were dropped.
        features: names of the input columns.
        target: name of the column to predict.
        categorical: names of the input columns to encode one-hot; all others must be numeric.
        is_classification: whether the target holds classes; otherwise it must be numeric.
        missing: ``refuse``, ``drop`` or ``median``, which allows missing inputs.
        is_series: whether the table is a time series, which has neither categories nor a setting for missing values.

    Raises:
        DataError: a value is missing, infinite or not a number, or a category has too many values.
    """
    categories = {target, *categorical} if is_classification else {*categorical}
    names = list(dict.fromkeys((target, *features)))
    sound = sound_columns(frame[names], LARGEST) - categories
    problems: list[Problem] = []
    for name in names:
        if name not in sound:
            problems += _problems(frame[name], name in categories, name == target)
    if missing == "median":
        problems = [one for one in problems if one.fix != "data.missing=median"]
    fixes: dict[Fix, Fix] = {"data.exclude": "data.exclude", "data.categorical": "data.exclude"}
    refuse_all([one._replace(fix=fixes.get(one.fix, "")) for one in problems] if is_series else problems, target)


def check_encoded_size(frame: pd.DataFrame, categorical: Sequence[str]) -> None:
    """Refuse categories whose one-hot encoding would not fit in memory.

    Raises:
        DataError: the encoding is too large; the message names the column with the most values.
    """
    counts = {name: frame[name].nunique() for name in categorical}
    if len(frame) * sum(counts.values()) > MOST_ENCODED:
        most = max(counts, key=counts.__getitem__)
        got = f"got {sum(counts.values()):,} categories in {len(frame):,} rows, {counts[most]:,} of them in {most!r}"
        rule = f"rows times categories must be at most {MOST_ENCODED:,}, use data.exclude"
        raise DataError(f"data.categorical: {got}; {rule}")


def check_not_constant(target: pd.Series) -> None:
    """Refuse training targets that are all equal.

    Raises:
        DataError: all are equal; the message includes the value.
    """
    if np.var(target.to_numpy()) == 0:
        where = f"column {target.name!r} is constant ({target.iloc[0]}) in the training rows"
        raise DataError(f"data.target: {where}; nothing to learn")


def check_has_values(training: pd.DataFrame) -> None:
    """Refuse training rows with an empty column: no value could replace its missing cells.

    Raises:
        DataError: a column has no value in the training rows.
    """
    if empty := [str(name) for name in training if training[name].isna().all()]:
        got = f"got 'median'; no training row has a value in {first_few(empty)}"
        raise DataError(f"data.missing: {got}; exclude it with {list_of_columns('data.exclude', empty)}")


def find_categories(frame: pd.DataFrame, features: Sequence[str]) -> list[str]:
    """Return the input columns that are detected as categories: of categorical type, or text with few values."""
    return [name for name in features if _is_category(frame[name])]


def _is_category(column: pd.Series) -> bool:
    kind = kind_of(column)
    return kind == "categories" or (kind == "text" and column.nunique() <= min(FEW_VALUES, column.count() / 2))


def _problems(column: pd.Series, is_categorical: bool, is_target: bool) -> Iterator[Problem]:
    """Yield all problems of a column."""
    if column.isna().all():
        yield Problem("no value in", str(column.name), f"{len(column)} rows", "data.exclude")
        return
    yield from (_category_problems if is_categorical else _number_problems)(column.dropna(), is_target)
    if (missing := column.isna()).any():
        where = f"{int(missing.sum()):,}, first in row {int(column.index[int(np.argmax(missing))]) + 1}"
        fix: Fix = "data.missing=drop" if is_target else "data.missing=median"
        yield Problem("missing in", str(column.name), where, fix)


def _number_problems(values: pd.Series, is_target: bool) -> Iterator[Problem]:
    """Yield the reasons why the values of a column are not numbers."""
    name, kind = str(values.name), kind_of(values)
    if kind == "text":
        yield _text_problem(values, is_target)
    elif kind == "not quite numbers":
        yield Problem("not a number in", name, _first(values, pd.to_numeric(values, errors="coerce").isna()))
    elif kind != "numbers":
        what = "dates in" if kind == "dates" else "neither numbers nor text in"
        yield Problem(what, name, _first(values), "data.exclude")
    elif (invalid := as_floats(values).abs() > LARGEST).any():
        where = f"{_first(values, invalid)}, {int(invalid.sum()):,} in total"
        yield Problem(f"infinite, or larger than {LARGEST:.2g}, in", name, where)


def _text_problem(values: pd.Series, is_target: bool) -> Problem:
    different = values.nunique()
    name, where = str(values.name), f"{_first(values)}, {different:,} different"
    if different > min(MOST_VALUES, len(values) / 2):
        return Problem("text with too many values for a category in", name, where, "data.exclude")
    return Problem("text in", name, where, "data.task=classification" if is_target else "data.categorical")


def _category_problems(values: pd.Series, is_target: bool) -> Iterator[Problem]:
    """Yield the reasons why the values of a column cannot be categories."""
    name, scalar = str(values.name), values.map(is_scalar)
    if not scalar.all():
        yield Problem("neither numbers nor text in", name, _first(values, ~scalar), "data.exclude")
    elif not is_target and values.nunique() > MOST_VALUES:
        where = f"{values.nunique():,} different"
        yield Problem(f"more than {MOST_VALUES:,} categories in", name, where, "data.exclude")


def _first(values: pd.Series, which: pd.Series | None = None) -> str:
    """Return the first selected value with its row in the file, counted from 1; by default, all are selected."""
    position = 0 if which is None else int(np.argmax(which))
    value = values.iloc[position]
    return f"row {int(values.index[position]) + 1}: {repr(value) if isinstance(value, str) else value}"


def holds_classes(target: pd.Series, task: str) -> bool:
    """Return whether a target holds classes; with the task ``auto``, booleans, text and categories are classes."""
    return task == "classification" or (
        task == "auto" and (is_boolean(target) or kind_of(target) in {"text", "categories"})
    )
