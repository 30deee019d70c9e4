"""Tables of text, for the terminal and as Markdown."""

from collections.abc import Sequence
from typing import NamedTuple

TEXT_COLUMNS = {"job", "run", "runs", "outcome", "reason", "better", "worse", "told apart", "why", "evidence"}


class Table(NamedTuple):
    """A table of text."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def to_markdown(table: Table) -> str:
    """A table as Markdown.

    Example:
        >>> print(to_markdown(Table("", ("run", "n"), [("norm=1.0", "3")])))
        | run | n |
        | --- | --- |
        | norm=1.0 | 3 |
        <BLANKLINE>
    """
    lines = [table.columns, ("---",) * len(table.columns), *table.rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines) + "\n"


def print_tables(tables: Sequence[Table]) -> None:
    """The tables on the terminal."""
    from rich import table as rich_table
    from rich.console import Console
    from rich.text import Text

    for table in tables:
        drawn = rich_table.Table(title=Text(table.title))  # brackets are no markup
        for column in table.columns:
            drawn.add_column(column, justify="left" if column in TEXT_COLUMNS else "right", overflow="fold")
        for row in table.rows:
            drawn.add_row(*map(Text, row))
        console = Console()
        (console if console.is_terminal else Console(width=140)).print(drawn)
