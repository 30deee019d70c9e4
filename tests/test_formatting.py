"""Tables on the terminal and as Markdown."""

from gradclip.formatting import Table, print_tables, to_markdown

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
