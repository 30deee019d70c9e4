"""Formatting of numbers, scores, tables and messages as text."""

import math
import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from gradclip import keys
from gradclip.program import command_line
from gradclip.scores import ACCURACY, SCORES, Split

CODE = "    "  # indents a line of code or a command
TEXT_COLUMNS = {
    "job",
    "run",
    "group",
    "outcome",
    "reason",
    "better",
    "worse",
    "significant",
    "arm",
    "against",
    "verdict",
}
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # first characters of a formula
INVISIBLE = re.compile(  # letters, marks and fillers without a shape, which Python counts as printable
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)
MARKDOWN = {ord(character): f"&#{ord(character)};" for character in "|[]`*_~#$@\\"} | str.maketrans(
    {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
)


class Table(NamedTuple):
    """A table whose cells are text.

    Attributes:
        title: printed above the table.
        columns: names of the columns.
        rows: rows with one cell for each column.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]

    @classmethod
    def of_columns(cls, title: str, columns: Mapping[str, Sequence[str]]) -> "Table":
        """Return a table from the cells of each column, by the name of the column."""
        return cls(title, tuple(columns), [*zip(*columns.values(), strict=True)])


def to_markdown(table: Table) -> str:
    """Return a table as Markdown.

    Example:
        >>> print(to_markdown(Table("", ("run", "n"), [("norm=1.0", "3")])))
        | run | n |
        | --- | --- |
        | norm=1.0 | 3 |
        <BLANKLINE>
    """
    cells = [[markdown_cell(cell) for cell in line] for line in (table.columns, *table.rows)]
    lines = [cells[0], ["---"] * len(table.columns), *cells[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def to_latex(table: Table) -> str:
    r"""Return a table for LaTeX's booktabs package, with its title as a comment.

    Example:
        >>> print(to_latex(Table("MSE", ("group", "n"), [("huber_loss", "3")])))
        % MSE
        \begin{tabular}{lr}
        \toprule
        group & n \\
        \midrule
        huber\_loss & 3 \\
        \bottomrule
        \end{tabular}
        <BLANKLINE>
    """
    alignment = "".join("l" if column in TEXT_COLUMNS else "r" for column in table.columns)
    head, *rows = (
        " & ".join(printable(cell).translate(LATEX) for cell in line) + r" \\" for line in (table.columns, *table.rows)
    )
    begin, end = rf"\begin{{tabular}}{{{alignment}}}", r"\end{tabular}"
    title = f"% {printable(table.title)}"
    return "\n".join([title, begin, r"\toprule", head, r"\midrule", *rows, r"\bottomrule", end]) + "\n"


def printable(text: str) -> str:
    r"""Return a text with escapes in place of control characters and others that cannot be printed or are invisible.

    Example:
        >>> printable("norm=1.0\x1b[2J\n")
        'norm=1.0\\x1b[2J\\n'
    """
    if text.isprintable() and (text.isascii() or INVISIBLE.search(text) is None):
        return text
    is_shown = {one: one.isprintable() and INVISIBLE.match(one) is None for one in {*text}}
    return "".join(one if is_shown[one] else one.encode("unicode_escape").decode() for one in text)


def shortened(text: str, length: int) -> str:
    """Return a text of at most ``length`` characters; an ellipsis replaces the middle of a longer one.

    Example:
        >>> shortened("norm=1.0 lr=0.1 seed=0", 30), shortened("norm=1.0 lr=0.1 seed=0", 13)
        ('norm=1.0 lr=0.1 seed=0', 'norm=1…seed=0')
    """
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    return f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"


def markdown_cell(text: str) -> str:
    """Return a text escaped for a cell of a Markdown table.

    Example:
        >>> markdown_cell("a|b <img src=x> [c](d)")
        'a&#124;b &lt;img src=x&gt; &#91;c&#93;(d)'
    """
    return printable(text).translate(MARKDOWN)


def markdown_line(line: str) -> str:
    """Return a line escaped for Markdown; an indented command, which Markdown shows as code, stays as it is.

    Example:
        >>> markdown_line("final/mse_test: 4.0"), markdown_line("    python src/train.py clip=parameter_norm")
        ('final/mse&#95;test: 4.0', '    python src/train.py clip=parameter_norm')
    """
    return printable(line) if line.startswith(CODE) else markdown_cell(line)


def csv_cell(value: object) -> object:
    """Return a cell that a spreadsheet does not read as a formula; numbers stay as they are, even as text.

    Example:
        >>> csv_cell("=HYPERLINK(0)"), csv_cell("norm=1.0"), csv_cell("-1.5"), csv_cell(-1.5)
        ("'=HYPERLINK(0)", 'norm=1.0', '-1.5', -1.5)
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(FORMULA) and math.isnan(parse_number(text)) else text


def parse_number(text: str | None) -> float:
    """Return the number that a text is, such as the value of a stored setting; NaN where it is none.

    Example:
        >>> parse_number("1e-3"), parse_number("[1, 2]"), parse_number(None)
        (0.001, nan, nan)
    """
    try:
        return math.nan if text is None else float(text)
    except ValueError:
        return math.nan


def signal_name(number: int) -> str:
    """Return the name by which users know a signal.

    Example:
        >>> signal_name(2), signal_name(15)
        ('Ctrl-C', 'SIGTERM')
    """
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def chosen_on_test(reason: str = "this data set has no validation rows") -> str:
    """Return a note that the best was chosen by the same score that is reported for it.

    Example:
        >>> chosen_on_test()
        'Chosen on the test rows: this data set has no validation rows, so the best looks better than it is.'
    """
    return f"Chosen on the test rows: {reason}, so the best looks better than it is."


def counted(number: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun, whose plural is formed with an s by default.

    Args:
        number: the number.
        singular: text for one.
        plural: text for any other number.

    Example:
        >>> counted(1, "run"), counted(0, "run"), counted(2, "update was", "updates were")
        ('1 run', '0 runs', '2 updates were')
    """
    return f"{number} {singular if number == 1 else plural or f'{singular}s'}"


def unsent_message(writes: int, folder: Path) -> str:
    """Return a message that writes wait for the store, with the command that sends them.

    Example:
        >>> unsent_message(2, Path("runs/1"))
        'Unsent: the store did not accept 2 writes; they wait in runs/1. Send them: python src/sync.py runs/1'
        >>> unsent_message(1, Path("runs/1"))
        'Unsent: the store did not accept 1 write; it waits in runs/1. Send it: python src/sync.py runs/1'
    """
    waiting = counted(writes, "write; it waits", "writes; they wait")
    them, send = "it" if writes == 1 else "them", command_line("sync", [str(folder)])
    return f"Unsent: the store did not accept {waiting} in {folder}. Send {them}: {send}"


def format_scores(score: str, scores: Mapping[Split, float]) -> str:
    """Format final scores as the tutorial prints them, accuracies in percent.

    Args:
        score: name of the score, ``mse`` or ``accuracy``; any other name is a metric of a user-defined module.
        scores: value on each split.

    Example:
        >>> format_scores("mse", {"train": 2.3637, "test": float("nan")})
        'Train: 2.36, Test: nan'
        >>> format_scores("accuracy", {"train": 1.0, "validation": 0.975, "test": 0.9712})
        'Train: 100.0% right, Validation: 97.5% right, Test: 97.1% right'
        >>> format_scores("val_loss", {"train": 0.5, "validation": 0.6})
        'loss/train: 0.50, val_loss: 0.60'
        >>> format_scores("val_loss", {"train": float("nan"), "validation": 0.6})  # a module that returns no loss
        'val_loss: 0.60'
    """
    if score in SCORES:
        return ", ".join(f"{split.capitalize()}: {format_score(score, value)}" for split, value in scores.items())
    known = {split: value for split, value in scores.items() if split != "train" or not math.isnan(value)}
    named = {keys.LOSS_TRAIN if split == "train" else score: value for split, value in known.items()}
    return ", ".join(f"{name}: {format_number(value)}" for name, value in named.items())


def format_score(score: str, value: float) -> str:
    """Format one score, an accuracy in percent."""
    return f"{value:.1%} right" if score == ACCURACY.name and not math.isnan(value) else format_number(value)


def format_number(value: float) -> str:
    """Format a number with two decimals, or with three significant digits below 0.1 and from a million on.

    Example:
        >>> format_number(17.812), format_number(0.000123), format_number(float("nan"))
        ('17.81', '0.000123', 'nan')
    """
    return f"{value:.2f}" if math.isnan(value) or 0.1 <= abs(value) < 1e6 else f"{value:.3g}"


def format_value(value: float) -> str:
    """Format a number with three significant digits, but with all digits of its whole part below a million.

    Example:
        >>> [format_value(value) for value in (0.000123, 1, 17.812, 99.97, 1046.4, 28461.5, 6.98e27)]
        ['0.000123', '1.00', '17.8', '100', '1046', '28462', '6.98e+27']
    """
    return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:#.3g}".rstrip(".")
