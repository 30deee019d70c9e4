"""Text from a store is shown literally on the terminal, in Markdown, in spreadsheets and in figures."""

import csv
import html
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from gradclip.cli.compare import print_comparison
from gradclip.cli.entry import errors_in_one_line
from gradclip.compare.comparison import compare
from gradclip.errors import ConfigError
from gradclip.formatting import csv_cell, markdown_cell, printable
from gradclip.plots.style import draw
from tests.support.stores import make_store, write_run

HOSTILE = (
    *("\x1b]0;title\x07\x1b[2J", "two\nlines\r", "=HYPERLINK(0)", "+1+1", "-1+1", "@SUM(1)", "\t=1", "\uff1d1"),
    *("<img src=x onerror=alert(1)>", "[a](http://b)", "| # `*_~ $x$ |", "\u202eright\u2066", "a\u200bb", "\u061c"),
    *(r"$\frac", "$$", "$", "{x}_", "[bold]rich[/bold]", "\u2028"),
)


def test_names_and_settings_of_hostile_runs_are_shown_literally(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, folder = make_store(tmp_path), tmp_path / "out"
    for seed, text in enumerate(HOSTILE):
        write_run(store, 100.0 - seed, seed, {"loss.delta": text, f"model.{seed}": text, "clip.name": text}, [2.0, 1.0])
    found = compare(store, "gradclip", folder)
    print_comparison(found, folder)
    printed = capsys.readouterr().out
    assert all(line.isprintable() for line in printed.split("\n"))
    assert "[bold]" in printed
    markdown = (folder / "comparison.md").read_text()
    assert all(line.isprintable() for line in markdown.split("\n"))
    assert not [part for part in ("<img", "[a]", "`*", "$x$") if part in markdown]
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert len({line.count("|") for line in rows}) == 2  # one number of columns for each of two tables
    for name in ("groups.csv", "pairs.csv"):
        with (folder / name).open(newline="") as file:
            cells = [cell for line in csv.reader(file) for cell in line]
        assert all(cell.isprintable() for cell in cells)
        assert not [cell for cell in cells if cell[:1] in {*"=+-@\uff1d"} and not is_number(cell)]
    assert {path.stem for path in (folder / "figures").iterdir()} >= {"all_runs", "learning_curves", "gradient_norms"}


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_escaped_and_otherwise_unchanged(text: str) -> None:
    assert printable(text).isprintable()
    assert html.unescape(markdown_cell(text)) == printable(text)
    assert not {*"|<>[]`*_~#$@\\"} & {*markdown_cell(text).replace("&#", "")}
    assert csv_cell(f" {text}") == f" {printable(text)}"


def test_characters_without_a_shape_are_escaped_and_letters_are_not() -> None:
    invisible = ("\u034f", "\u115f", "\u2800", "\u3164", "\ufe0f", "\uffa0", "\U000e0101", "\u200d", "\xad")
    assert [printable(f"a{one}") for one in invisible] == [
        f"a{one.encode('unicode_escape').decode()}" for one in invisible
    ]
    assert printable("größe=1 Größe α β 尺寸 ‖g‖² …") == "größe=1 Größe α β 尺寸 ‖g‖² …"


def test_numbers_in_a_csv_file_remain_numbers() -> None:
    assert [csv_cell(value) for value in ("-1.5", "+1", "-inf", -1.5, "-1-1", "=1")] == [
        *("-1.5", "+1", "-inf", -1.5, "'-1-1", "'=1"),
    ]


def test_a_dollar_sign_in_a_figure_is_not_math_and_axis_labels_keep_their_powers(tmp_path: Path) -> None:
    kept: list[Figure] = []

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([1, 2], [1, 1e6], label=r"$\frac")
        axes.set(yscale="log", title=r"$\frac{$", xlabel="$x$")
        axes.legend()
        kept.append(figure)

    draw(tmp_path / "figure.png", plot)
    (axes,) = kept[0].axes
    assert [text.get_parse_math() for text in kept[0].findobj(Text) if "$x$" in text.get_text()] == [False]
    assert [text.get_parse_math() for text in kept[0].findobj(Text) if "frac" in text.get_text()] == [False, False]
    assert any("10^" in label.get_text() and label.get_parse_math() for label in axes.get_yticklabels())


def test_hostile_text_in_errors_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), errors_in_one_line():
        raise ConfigError("run: got \x1b[2J\u202e; still going on")
    assert capsys.readouterr().err == "error: run: got \\x1b[2J\\u202e; still going on\n"
