"""Output on a terminal: tables, wrapped text, and a silent end if standard output is closed."""

import errno
import os
import re
import select
import shutil
import signal
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import TextIOWrapper
from typing import TYPE_CHECKING, Literal

from gradclip.formatting import CODE, TEXT_COLUMNS, Table, printable

if TYPE_CHECKING:
    from rich.console import Console

COLORS = {
    "diverged": "red",
    "failed": "red",
    "stopped": "red",
    "stalled": "yellow",
    "learned": "green",
    "best": "green",
}
LONGEST_WORDS = 40, 30, 20  # characters in a table's cell, longer ones are broken; shorter if the table is too wide
COMMAND = re.compile("(?<=: )(?=python src/|gradclip |mlflow ui )")  # where a command begins that ends its line
FILE_WIDTH = 140  # characters of a line without a terminal


def console() -> "Console":
    """Return rich's console: as wide as the terminal, in colour unless NO_COLOR is set; for a file, wide and plain."""
    from rich.console import Console

    found = Console()
    return found if found.is_terminal else Console(width=FILE_WIDTH)


def print_tables(tables: Sequence[Table]) -> None:
    """Print tables on the terminal; text wraps between words, numbers stay whole, and a title may be wider."""
    from rich import table as rich_table
    from rich.box import HEAVY_HEAD, SIMPLE_HEAD
    from rich.text import Text

    for table in tables:
        terminal = console()
        widths = _column_widths(table, terminal.width)
        box = HEAVY_HEAD if _total(widths) <= terminal.width else SIMPLE_HEAD  # narrower: no vertical lines
        rich = rich_table.Table(box=box)
        for column, width in zip(table.columns, widths, strict=True):
            justify: Literal["left", "right"] = "left" if column in TEXT_COLUMNS else "right"
            title = Text(printable(column))  # otherwise rich reads brackets as markup
            rich.add_column(title, justify=justify, overflow="fold", min_width=width, max_width=width)
        for row in table.rows:
            rich.add_row(*(Text(printable(cell), style=COLORS.get(cell, "")) for cell in row))
        if table.title:
            print_lines(printable(table.title))
        with terminal.capture() as captured:  # rich itself would exit on a closed standard output
            terminal.print(rich, width=max(terminal.width, _total(widths)), crop=False)
        print(captured.get(), end="", file=terminal.file)


def _column_widths(table: Table, room: int) -> list[int]:
    """Return the width of each column, in characters, such that the table fits into the room if it can.

    Words are kept whole, except long ones such as paths; numbers always are. What is left of the room goes to the
    columns that need more for their whole cells, from left to right.
    """
    from rich.cells import cell_len

    columns = [[printable(text) for text in column] for column in zip(table.columns, *table.rows, strict=True)]
    tried = [[_word_width(column, longest) for column in columns] for longest in LONGEST_WORDS]
    widths = next((some for some in tried if _total(some) <= room), tried[-1])
    for index, column in enumerate(columns):
        whole = max(map(cell_len, column))
        widths[index] = max(widths[index], min(whole, widths[index] + room - _total(widths)))
    return widths


def _word_width(column: Sequence[str], longest: int) -> int:
    """Return the width of a column, title first, for its words of at most this length, or for its whole numbers."""
    from rich.cells import cell_len

    title, *cells = column
    is_text = title in TEXT_COLUMNS
    parts = [word for cell in cells for word in cell.split()] if is_text else cells
    return min(max(map(cell_len, [*title.split(), *parts])), longest if is_text else LONGEST_WORDS[0])


def _total(widths: Sequence[int]) -> int:
    """Return the width of a table with vertical lines."""
    return sum(widths) + 3 * len(widths) + 1


def print_lines(*texts: str) -> None:
    """Print texts; on a terminal, wrap their lines except commands and lines of code, which can then be copied."""
    text = "\n".join(texts)
    print(_wrapped(text, shutil.get_terminal_size().columns) if sys.stdout.isatty() else text)


def _wrapped(text: str, width: int) -> str:
    wrap = partial(textwrap.wrap, width=width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    lines: list[str] = []
    for line in text.splitlines():
        if len(line) <= width or line.startswith(CODE):
            lines.append(line)
        else:
            words, *command = COMMAND.split(line, maxsplit=1)
            lines += [*wrap(words), *(f"{CODE}{one}" for one in command)]
    return "\n".join(lines)


@contextmanager
def standard_output() -> Iterator[None]:
    """Flush standard output at the end; if its reader has closed it, as ``head`` does, exit silently.

    Characters that its encoding lacks are printed as escapes.

    Raises:
        SystemExit: with the code of a program ended by SIGPIPE, or with code 2 if the output is a file on a full disk.
            Hydra lets it pass, but would report an exception.
    """
    if sys.stdout is None:  # closed by the shell (>&-)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # until the process ends
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _has_no_reader(sys.stdout.fileno()):
            raise  # another pipe broke
        _discard_output()
        raise SystemExit(128 + signal.SIGPIPE) from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _discard_output()
        if not isinstance(error.__context__, SystemExit):  # else an error was printed already
            print(f"error: standard output: cannot be written: {error.strerror}", file=sys.stderr)
        raise SystemExit(2) from error


def _discard_output() -> None:
    """Discard what is still buffered for standard output, which would be written at exit, and all further output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _has_no_reader(descriptor: int) -> bool:
    state = select.poll()
    state.register(descriptor, 0)  # errors are always reported
    return bool(state.poll(0))


def announce(text: str) -> None:
    """Print on a terminal what is about to start, before imports that take seconds."""
    if sys.stderr.isatty():
        print(printable(text), file=sys.stderr, flush=True)
