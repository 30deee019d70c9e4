"""Checks of a user's table before anything is learned from it; every refusal is one line with the setting."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from pandas.api.types import is_scalar

from gradclip.data.problems import Fix, Problem, refuse_all
from gradclip.data.typed_columns import as_floats, is_boolean, kind_of, sound_columns
from gradclip.errors import DataError, did_you_mean, first_few

LARGEST = float(np.finfo(np.float32).max)  # training is in float32
FEW_VALUES = 20  # different texts of a column that is taken for a category without being told
MOST_VALUES = 1000  # of a category: each becomes an input
MOST_ENCODED = 10**8  # numbers that categories become, 0.8 GB


def check_columns_exist(frame: pd.DataFrame, wanted: Sequence[tuple[str, str]]) -> None:
    """Refuse a table without the wanted columns, pairs of a setting and the column that it names.

    Raises:
        DataError: a column is missing; the message lists those of the table.
    """
    columns = [str(name) for name in frame.columns]
    for setting, name in wanted:
        if name not in columns:
            hint = did_you_mean(name, columns)
            raise DataError(f"{setting}: got {name!r}; no such column{hint}, there are {first_few(columns, 20)}")


def check_column_settings(
    frame: pd.DataFrame,
    features: Sequence[str],
    target: str,
    categorical: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> None:
    """Refuse settings that do not name columns of the table, or name them twice.

    Args:
        frame: the table.
        features: names of the input columns.
        target: name of the column to predict.
        categorical: names of the input columns that are encoded one-hot.
        exclude: names of columns that are left out.

    Raises:
        DataError: a column does not exist, or is named twice, or there are no rows or no inputs.
    """
    settings = {"data.features": features, "data.categorical": categorical, "data.exclude": exclude}
    wanted = [(setting, name) for setting, names in settings.items() for name in names]
    check_columns_exist(frame, [("data.target", target), *wanted])
    for setting, names in settings.items():
        if twice := [name for name in names if list(names).count(name) > 1]:
            raise DataError(f"{setting}: got {twice[0]!r} twice")
    if not features:
        raise DataError("data.features: got none; at least one input column is needed")
    if "" in features:  # MLflow would store no model of it
        raise DataError("data.features: got a column without a name; name it, or list the others in data.features")
    for name in categorical:
        if name not in features:
            raise DataError(f"data.categorical: got {name!r}; must be one of data.features")
    for name in exclude:
        if name in features:
            raise DataError(f"data.exclude: got {name!r}; that is one of data.features")
    if frame.empty:
        raise DataError("data.path: the file has a header and no rows")


def check_values(
    frame: pd.DataFrame,
    features: Sequence[str],
    target: str,
    categorical: Sequence[str] = (),
    is_classification: bool = False,
    missing: str = "refuse",
    is_series: bool = False,
) -> None:
    """Refuse a table with values that cannot be trained on, naming all of them at once.

    Args:
        frame: the table, without the rows that are left out.
        features: names of the input columns.
        target: name of the column to predict.
        categorical: names of the input columns that are encoded one-hot; all others have to be numbers.
        is_classification: whether the target is classes; else it has to be numbers.
        missing: ``refuse``, ``drop``, or ``median`` where missing inputs are filled in.
        is_series: whether the table is a time series, which has neither categories nor a setting for missing values.

    Raises:
        DataError: a value is missing, infinite or not a number, or a category has too many values.
    """
    labels = [target] if is_classification else []
    names = list(dict.fromkeys((target, *features)))
    sound = sound_columns(frame[names], LARGEST) - {*labels, *categorical}
    problems = [
        problem
        for name in names
        if name not in sound
        for problem in _problems(frame[name], name in (*labels, *categorical), name == target)
        if not (missing == "median" and problem.fix == "data.missing=median")
    ]
    fixes: dict[Fix, Fix] = {"data.exclude": "data.exclude", "data.categorical": "data.exclude"}
    refuse_all([one._replace(fix=fixes.get(one.fix, "")) for one in problems] if is_series else problems, target)


def check_encoded_size(frame: pd.DataFrame, categorical: Sequence[str]) -> None:
    """Refuse categories whose one-hot inputs would not fit the memory.

    Raises:
        DataError: they would not; the message has the column with the most values.
    """
    counts = {name: frame[name].nunique() for name in categorical}
    if len(frame) * sum(counts.values()) > MOST_ENCODED:
        most = max(counts, key=counts.__getitem__)
        got = f"{sum(counts.values()):,} categories in {len(frame):,} rows, {counts[most]:,} of them in {most!r}"
        raise DataError(f"data.categorical: {got}; rows times categories may be {MOST_ENCODED:,}, use data.exclude")


def check_not_constant(target: pd.Series) -> None:
    """Refuse training targets that are all equal.

    Raises:
        DataError: they are; the message has the value.
    """
    if np.var(target.to_numpy()) == 0:
        where = f"column {target.name!r} is constant ({target.iloc[0]}) in the training rows"
        raise DataError(f"data.target: {where}; nothing to learn")


def check_has_values(training: pd.DataFrame) -> None:
    """Refuse training rows in which a column has no value, so that there is none to fill in.

    Raises:
        DataError: there is such a column.
    """
    if empty := [str(name) for name in training if training[name].isna().all()]:
        got = f"got 'median'; no training row has a value in {first_few(empty)}"
        raise DataError(f"data.missing: {got}; leave it out with data.exclude=[{','.join(empty)}]")


def find_categories(frame: pd.DataFrame, features: Sequence[str]) -> list[str]:
    """Return the input columns that are categories without being told: of that type, or text of few values."""
    return [name for name in features if _is_category(frame[name])]


def _is_category(column: pd.Series) -> bool:
    kind = kind_of(column)
    return kind == "categories" or (kind == "text" and column.nunique() <= min(FEW_VALUES, column.count() / 2))


def _problems(column: pd.Series, is_categorical: bool, is_target: bool) -> Iterator[Problem]:
    """Yield all that is wrong with a column."""
    if column.isna().all():
        yield Problem("no value in", str(column.name), f"{len(column)} rows", "" if is_target else "data.exclude")
        return
    yield from (_category_problems if is_categorical else _number_problems)(column.dropna(), is_target)
    if (missing := column.isna()).any():
        where = f"{int(missing.sum()):,}, first in row {int(column.index[int(np.argmax(missing))]) + 1}"
        yield Problem(
            "missing in", str(column.name), where, "data.missing=drop" if is_target else "data.missing=median"
        )


def _number_problems(values: pd.Series, is_target: bool) -> Iterator[Problem]:
    """Yield what keeps the values of a column from being read as numbers."""
    name, kind = str(values.name), kind_of(values)
    if kind == "text":
        yield _text_problem(values, is_target)
    elif kind == "not quite numbers":
        yield Problem("not a number in", name, _first(values, pd.to_numeric(values, errors="coerce").isna()))
    elif kind != "numbers":
        what = "dates in" if kind == "dates" else "neither numbers nor text in"
        yield Problem(what, name, _first(values), "" if is_target else "data.exclude")
    elif (invalid := as_floats(values).abs() > LARGEST).any():
        where = f"{_first(values, invalid)}, {int(invalid.sum()):,} such"
        yield Problem(f"infinite, or larger than {LARGEST:.2g}, in", name, where)


def _text_problem(values: pd.Series, is_target: bool) -> Problem:
    different = values.nunique()
    name, where = str(values.name), f"{_first(values)}, {different:,} different"
    if different > min(MOST_VALUES, len(values) / 2):
        return Problem("text of too many values for a category in", name, where, "" if is_target else "data.exclude")
    return Problem("text in", name, where, "data.task=classification" if is_target else "data.categorical")


def _category_problems(values: pd.Series, is_target: bool) -> Iterator[Problem]:
    """Yield what keeps the values of a column from being read as categories."""
    name, scalar = str(values.name), values.map(is_scalar)
    if not scalar.all():
        yield Problem("neither numbers nor text in", name, _first(values, ~scalar), "data.exclude")
    elif not is_target and values.nunique() > MOST_VALUES:
        where = f"{values.nunique():,} different"
        yield Problem(f"more than {MOST_VALUES:,} categories in", name, where, "data.exclude")


def _first(values: pd.Series, which: pd.Series | None = None) -> str:
    """Return the first of some values with its row in the file, counted from 1; of all values where none are chosen."""
    position = 0 if which is None else int(np.argmax(which))
    value = values.iloc[position]
    return f"row {int(values.index[position]) + 1}: {repr(value) if isinstance(value, str) else value}"


def takes_task(target: pd.Series, task: str) -> bool:
    """Return whether the values of a target are classes: as the task says, else where they are no numbers.

    Args:
        target: the column to predict.
        task: ``classification``, ``regression`` or ``auto``.
    """
    return task == "classification" or (
        task == "auto" and (is_boolean(target) or kind_of(target) in {"text", "categories"})
    )
