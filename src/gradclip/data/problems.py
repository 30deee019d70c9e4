"""What keeps a table from being trained on: all of it in one line, with the settings that take it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from gradclip.errors import DataError, first_few

Fix = Literal[
    "", "data.categorical", "data.exclude", "data.missing=median", "data.missing=drop", "data.task=classification"
]
MOST = 3  # columns that are named for each problem, with their rows


class Problem(NamedTuple):
    """Something in a column that is not taken as it is.

    Attributes:
        what: is wrong, the same words for all columns in which it is.
        column: its name.
        where: the first row with it, or how much of it there is.
        fix: the setting that takes it, without a value where that is a list of columns; empty where there is none.
    """

    what: str
    column: str
    where: str
    fix: Fix = ""


def refuse_all(problems: Sequence[Problem], target: str) -> None:
    """Refuse a table with problems, naming all of them and the settings that take it as it is.

    Raises:
        DataError: there is a problem.
    """
    if not problems:
        return
    columns = {problem.column for problem in problems}
    setting = "data.target" if columns == {target} else "data" if target in columns else "data.features"
    told = "; ".join(f"{what} {first_few(places, MOST)}" for what, places in _places(problems).items())
    settings = _settings(problems)
    taken = f"; take it with {' '.join(settings)}" if settings else ""
    raise DataError(f"{setting}: {told} (rows count from 1 below the header){taken}")


def _places(problems: Iterable[Problem]) -> dict[str, list[str]]:
    """Return the columns with each problem, and where in them it is."""
    places: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        places[problem.what].append(f"{problem.column!r} ({problem.where})")
    return places


def _settings(problems: Iterable[Problem]) -> list[str]:
    """Return the settings that take all problems for which there is one."""
    columns: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        if problem.fix:
            columns[problem.fix].append(problem.column)
    if {"data.missing=drop", "data.missing=median"} <= columns.keys():  # median leaves out rows without a target
        del columns["data.missing=drop"]
    lists = {"data.categorical", "data.exclude"}
    return [f"{fix}=[{','.join(names)}]" if fix in lists else fix for fix, names in columns.items()]
