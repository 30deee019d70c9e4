"""The table of clipping methods, from what the docstrings of the clippers say.

``python docs/methods_table.py README.md docs/methods.md`` puts it between the markers of these files;
``python docs/methods_table.py`` prints it.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from gradclip.clipping.base import Clipper
from gradclip.clipping.build import METHODS
from gradclip.clipping.groups import Groups

BEGIN, END = "<!-- methods:begin -->", "<!-- methods:end -->"
HEAD = "| `clip=` | rule | a NaN or infinite gradient | source |\n|---|---|---|---|"
LABELS = ("Rule", "Non-finite gradients", "Source")  # each begins a paragraph, whose first line is the cell
ACTIVATION = (  # no clipper: it acts during backward
    "| `activation` | derivatives at each layer's output to [−c, c] during backward "
    "| an infinity becomes the nearer end, NaN stays | Graves 2013 |"
)


def table() -> str:
    """Return the table in Markdown, one row for each method."""
    return "\n".join(
        [HEAD, *(row(name, clipper) for name, clipper in METHODS.items()), row("groups", Groups), ACTIVATION]
    )


def row(name: str, clipper: type[Clipper]) -> str:
    """Return the row of a method.

    Raises:
        ValueError: the clipper's docstring has no rule, or does not say what happens to non-finite gradients.
    """
    paragraphs = dict(re.findall(rf"^ *({'|'.join(LABELS)}): (.*?)\.?$", clipper.__doc__ or "", flags=re.MULTILINE))
    if missing := [label for label in LABELS[:2] if label not in paragraphs]:
        raise ValueError(f"{clipper.__name__}: its docstring has no paragraph that begins with {missing[0]}:")
    settings = set(clipper.__annotations__)
    cells = [_in_markdown(paragraphs.get(label, ""), settings) for label in LABELS]
    return f"| `{name}` | {' | '.join(cells)} |".replace("|  |", "| |")


def _in_markdown(text: str, settings: set[str]) -> str:
    """A line of a docstring; names of settings as they are written on the command line."""
    parts = re.split(r"``(\w+)``", text)
    parts[1::2] = [f"`clip.{name}`" if name in settings else f"`{name}`" for name in parts[1::2]]
    return "".join(parts)


def updated(page: str) -> str:
    """Return a page with the table between its markers."""
    return re.sub(f"(?<={BEGIN}\n\n).*(?=\n\n{END})", lambda _: table(), page, flags=re.DOTALL)


def main(paths: Sequence[str]) -> None:
    """Update the pages, or print the table."""
    for path in map(Path, paths):
        path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")
    if not paths:
        print(table())


if __name__ == "__main__":
    main(sys.argv[1:])
