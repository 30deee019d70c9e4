"""Draw docs/layers.svg from the import contract in pyproject.toml: ``python docs/layers.py``.

Each row is a layer of the contract, each box a package or module, each caption the first sentence of its docstring.
"""

import ast
import re
import textwrap
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "gradclip"
PICTURE = ROOT / "docs" / "layers.svg"

WIDTH, MARGIN, GAP, PADDING = 960, 16, 8, 10  # pixels
LINE, CHARACTER = 16, 6.8  # height of a line and width of a character of a caption, in pixels
STYLE = """
  text { font-family: system-ui, sans-serif; fill: #1f2933 }
  .name { font-size: 14px; font-weight: 600 }
  .caption { font-size: 12px; fill: #52606d }
  .box { fill: #ffffff; stroke: #9fb3c8 }
  .layer { fill: #f0f4f8 }
"""


def layers(pyproject: str) -> list[list[str]]:
    """Return the layers of the first layers contract, top layer first, as names relative to gradclip."""
    contracts = tomllib.loads(pyproject)["tool"]["importlinter"]["contracts"]
    contract = next(contract for contract in contracts if contract["type"] == "layers")
    return [[name.strip("() ") for name in re.split(r"[|:]", layer)] for layer in contract["layers"]]


def caption(name: str) -> str:
    """Return the first sentence of the docstring of a package or module.

    Raises:
        FileNotFoundError: the package or module does not exist.
    """
    path = PACKAGE.joinpath(*name.removeprefix("gradclip.").split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = " ".join((ast.get_docstring(ast.parse(source.read_text())) or "").split("\n\n")[0].split())
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"\1", text).replace("``", "")
    return text.split(". ")[0].rstrip(".")


def draw(rows: list[list[str]]) -> str:
    """Return the picture as SVG."""
    y, drawn = float(MARGIN), []
    for row in rows:
        width = (WIDTH - 2 * MARGIN - GAP * (len(row) + 1)) / len(row)
        texts = [textwrap.wrap(caption(name), int((width - 2 * PADDING) / CHARACTER)) for name in row]
        height = LINE * (1 + max(map(len, texts))) + 1.5 * PADDING
        drawn.append(_rectangle("layer", MARGIN, y, WIDTH - 2 * MARGIN, height + 2 * GAP))
        for number, (name, lines) in enumerate(zip(row, texts, strict=True)):
            x = MARGIN + GAP + number * (width + GAP)
            drawn.append(_rectangle("box", x, y + GAP, width, height))
            drawn += _words(x + PADDING, y + GAP + PADDING + 9, name, lines)
        y += height + 3 * GAP
    size = f'width="{WIDTH}" height="{y + MARGIN - GAP:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {WIDTH} {y + MARGIN - GAP:.0f}" role="img">'
    return "\n".join([head, "<title>The layers of gradclip</title>", f"<style>{STYLE}</style>", *drawn, "</svg>\n"])


def _rectangle(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="5"/>'


def _words(x: float, y: float, name: str, lines: list[str]) -> list[str]:
    words = [f'<text class="name" x="{x:.1f}" y="{y:.1f}">{escape(name)}</text>']
    places = (y + LINE * number for number in range(1, len(lines) + 1))
    return words + [
        f'<text class="caption" x="{x:.1f}" y="{place:.1f}">{escape(line)}</text>'
        for place, line in zip(places, lines, strict=True)
    ]


if __name__ == "__main__":
    PICTURE.write_text(draw(layers((ROOT / "pyproject.toml").read_text())))
