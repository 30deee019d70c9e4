"""Tables and sentences fit the terminal, and are printed literally."""

import io
import re

import pytest
from rich.console import Console

from gradclip.formatting import Table
from gradclip.terminal import announce, print_lines, print_tables, standard_output

TABLE = Table("runs [a]", ("run", "reason"), [("groups=[{a: 1}]", "encode it with data.categorical=[city] [/old] a|b")])


def test_brackets_are_printed_literally_on_the_terminal(capsys):
    print_tables([TABLE])
    shown = capsys.readouterr().out
    assert "runs [a]" in shown
    assert "groups=[{a: 1}]" in shown
    assert "data.categorical=[city] [/old] a|b" in shown


def test_sentences_are_wrapped_on_a_terminal_and_commands_are_not(monkeypatch, capsys):
    text = f"  {'word ' * 30}\n    python src/train.py {'setting=1 ' * 10}\n\nend"
    print_lines(text, "more")
    assert capsys.readouterr().out == f"{text}\nmore\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    print_lines(*text.splitlines())
    lines = capsys.readouterr().out.splitlines()
    assert [len(line) <= 80 for line in lines] == [True, True, False, True, True]
    assert lines[1].startswith("    word")
    assert lines[3:] == ["", "end"]
    command = f"python src/train.py resume={'0' * 32} tracking.uri=sqlite:////runs/mlflow.db"
    print_lines(f"Stopped by Ctrl-C after step 123. To resume: {command}")
    assert capsys.readouterr().out == f"Stopped by Ctrl-C after step 123. To resume:\n    {command}\n"


@pytest.fixture
def terminal(monkeypatch):
    """Return a terminal of 80 columns that stores its output."""
    monkeypatch.setenv("TERM", "xterm-256color")
    kept = Console(width=80, force_terminal=True, file=io.StringIO(), legacy_windows=False)
    monkeypatch.setattr("gradclip.terminal.console", lambda: kept)
    return kept


def widest_line(terminal):
    """Return the number of visible characters in the widest line, without colours."""
    return max(map(len, re.sub(r"\x1b\[\d*m", "", terminal.file.getvalue()).splitlines()))


def test_a_narrow_terminal_wraps_text_between_words_and_keeps_numbers_whole(terminal):
    run = "none inputs_and_target_scaled learning_rate=0.00001 seed=0"
    row = (run, "diverged", *["123.456 (1 to 2)"] * 2)
    print_tables([Table("", ("run", "outcome", "a", "b"), [row])])
    assert widest_line(terminal) <= 80
    assert all(word in terminal.file.getvalue() for word in (*run.split(), "123.456 (1 to 2)"))


def test_a_long_path_does_not_make_a_table_wider_than_the_terminal(terminal):
    path = "/" + "folder/" * 12
    rows = [("0", "norm=1.0 seed=0", "failed", "", "", "", f"data.path: got '{path}'; no such file")]
    print_tables([Table("", ("job", "run", "outcome", "train MSE", "test MSE", "clipped", "reason"), rows)])
    assert widest_line(terminal) <= 80


def test_outcomes_have_colours_on_a_terminal(terminal):
    print_tables([Table("", ("run", "outcome"), [("a", "diverged"), ("b", "learned")])])
    assert "\x1b[31mdiverged" in terminal.file.getvalue()
    assert "\x1b[32mlearned" in terminal.file.getvalue()


def test_output_to_a_file_has_no_colours(capsys):
    print_tables([Table("", ("run", "outcome"), [("a", "diverged")])])
    assert "\x1b" not in capsys.readouterr().out


def test_a_title_may_be_longer_than_its_table_is_wide(capsys):
    print_tables([Table("final/mse_test of 6 runs on regression: multirun of clip=none,norm", ("run",), [("a",)])])
    title, *table = capsys.readouterr().out.splitlines()
    assert title == "final/mse_test of 6 runs on regression: multirun of clip=none,norm"
    assert max(map(len, table)) < 10


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_announced_only_on_a_terminal(monkeypatch, capsys, is_terminal):
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    announce("Run: norm=1.0; loading ...")
    assert capsys.readouterr() == ("", "Run: norm=1.0; loading ...\n" if is_terminal else "")


def test_characters_that_the_encoding_of_the_output_lacks_are_printed_as_escapes(monkeypatch):
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", output)
    with standard_output():
        print("R² \udcff")
    assert output.buffer.getvalue() == b"R\\xb2 \\udcff\n"
