"""The table of clipping methods, from the docstrings of the clippers.

``python docs/methods_table.py README.md docs/methods.md`` writes it between the markers in these files, in the README
without the column about non-finite gradients; ``python docs/methods_table.py`` prints it.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gradclip.clipping.base import Clipper
from gradclip.clipping.build import METHODS
from gradclip.clipping.groups import Groups

BEGIN, BEGIN_SHORT, END = "<!-- methods:begin -->", "<!-- methods:begin short -->", "<!-- methods:end -->"
# Column headings by the label of a docstring paragraph; the first line of the paragraph is the cell.
HEADS = {"Rule": "rule", "Non-finite gradients": "a NaN or infinite gradient", "Source": "source"}
SHORT = ("Rule", "Source")
ACTIVATION = {  # not a clipper: it acts during backward
    "Rule": "derivatives at each layer's output to [−c, c] during backward",
    "Non-finite gradients": "an infinity becomes the nearer bound, NaN stays",
    "Source": "Graves 2013",
}


def table(labels: Sequence[str] = tuple(HEADS)) -> str:
    """Return the Markdown table, with one row per method and one column per label."""
    rows = {name: cells(clipper) for name, clipper in (METHODS | {"groups": Groups}).items()}
    rows["activation"] = ACTIVATION
    head = f"{_line('`clip=`', HEADS, labels)}\n|{'---|' * (len(labels) + 1)}"
    return "\n".join([head, *(_line(f"`{name}`", row, labels) for name, row in rows.items())])


def cells(clipper: type[Clipper]) -> dict[str, str]:
    """Return the cells of a method, by label.

    Raises:
        ValueError: the clipper's docstring has no rule, or does not say what happens to non-finite gradients.
    """
    paragraphs = dict(re.findall(rf"^ *({'|'.join(HEADS)}): (.*?)\.?$", clipper.__doc__ or "", flags=re.MULTILINE))
    if missing := [label for label in HEADS if label != "Source" and label not in paragraphs]:
        raise ValueError(f"{clipper.__name__}: its docstring has no paragraph that begins with {missing[0]}:")
    settings = set(clipper.__annotations__)
    return {label: _in_markdown(paragraphs.get(label, ""), settings) for label in HEADS}


def _line(name: str, row: Mapping[str, str], labels: Sequence[str]) -> str:
    return f"| {name} | {' | '.join(row[label] for label in labels)} |".replace("|  |", "| |")


def _in_markdown(text: str, settings: set[str]) -> str:
    """Return a docstring line in Markdown, with setting names as written on the command line."""
    parts = re.split(r"``(\w+)``", text)
    parts[1::2] = [f"`clip.{name}`" if name in settings else f"`{name}`" for name in parts[1::2]]
    return "".join(parts)


def updated(page: str) -> str:
    """Return a page with the table between its markers."""
    for begin, text in {BEGIN: table(), BEGIN_SHORT: table(SHORT)}.items():
        before, found, old = page.partition(f"{begin}\n\n")
        page = f"{before}{found}{text}\n\n{END}{old.partition(END)[2]}" if found else page
    return page


def main(paths: Sequence[str]) -> None:
    """Update the pages, or print the table."""
    for path in map(Path, paths):
        path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")
    if not paths:
        print(table())


if __name__ == "__main__":
    main(sys.argv[1:])
