"""Problems of a user's table, reported in one line with the settings that accept the table."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from gradclip.errors import DataError, first_few
from gradclip.quoting import list_of_columns

Fix = Literal[
    "", "data.categorical", "data.exclude", "data.missing=median", "data.missing=drop", "data.task=classification"
]
SHOWN_COLUMNS = 3  # for each problem; more are counted


class Problem(NamedTuple):
    """A problem in a column that prevents training.

    Attributes:
        what: what is wrong, in the same words for all columns with the same problem.
        column: name of the column.
        where: the first row with the problem, or the number of rows that have it.
        fix: the setting that accepts the column, without its value if that is a list of columns; empty if none does.
    """

    what: str
    column: str
    where: str
    fix: Fix = ""


def refuse_all(problems: Sequence[Problem], target: str) -> None:
    """Refuse a table with problems; the error names all of them and the settings that accept the table.

    The target is never excluded.

    Raises:
        DataError: there is a problem.
    """
    if not problems:
        return
    columns = {problem.column for problem in problems}
    setting = "data.target" if columns == {target} else "data" if target in columns else "data.features"
    listed = "; ".join(f"{what} {first_few(places, SHOWN_COLUMNS)}" for what, places in _places(problems).items())
    settings = _settings(one for one in problems if (one.column, one.fix) != (target, "data.exclude"))
    fix = f"; to train anyway, set {' '.join(settings)}" if settings else ""
    raise DataError(f"{setting}: {listed} (rows are counted from 1, without the header){fix}")


def _places(problems: Iterable[Problem]) -> dict[str, list[str]]:
    """Return, for each problem, the columns that have it and where."""
    places: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        places[problem.what].append(f"{problem.column!r} ({problem.where})")
    return places


def _settings(problems: Iterable[Problem]) -> list[str]:
    """Return the settings that fix all problems that a setting can fix."""
    columns: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        if problem.fix:
            columns[problem.fix].append(problem.column)
    if {"data.missing=drop", "data.missing=median"} <= columns.keys():  # median drops rows without a target too
        del columns["data.missing=drop"]
    lists = {"data.categorical", "data.exclude"}
    return [list_of_columns(fix, names) if fix in lists else fix for fix, names in columns.items()]
