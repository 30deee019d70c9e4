"""Tables on the terminal and as Markdown."""

from gradclip.formatting import Table, for_terminal, print_tables, to_markdown

TABLE = Table("runs [a]", ("run", "reason"), [("groups=[{a: 1}]", "encode it with data.categorical=[city] [/old] a|b")])


def test_brackets_are_kept_on_the_terminal(capsys):
    print_tables([TABLE])
    shown = capsys.readouterr().out
    assert "runs [a]" in shown
    assert "groups=[{a: 1}]" in shown
    assert "data.categorical=[city] [/old] a|b" in shown


def test_a_bar_does_not_split_a_markdown_cell():
    row = to_markdown(TABLE).splitlines()[2]
    assert row.count("|") == 3
    assert "a&#124;b" in row


def test_sentences_are_wrapped_on_a_terminal_and_commands_are_not(monkeypatch):
    text = f"  {'word ' * 30}\n    python src/train.py {'setting=1 ' * 10}\n\nend"
    assert for_terminal(text) == text
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    lines = for_terminal(text).splitlines()
    assert [len(line) <= 80 for line in lines] == [True, True, False, True, True]
    assert lines[1].startswith("    word")
    assert lines[3:] == ["", "end"]
