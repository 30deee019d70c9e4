"""A bar in a cell does not split a table in Markdown."""

from gradclip.formatting import Table, to_markdown


def test_a_bar_does_not_split_a_markdown_cell():
    table = Table("runs", ("run", "reason"), [("groups=[{a: 1}]", "a|b")])
    row = to_markdown(table).splitlines()[2]
    assert row.count("|") == 3
    assert "a&#124;b" in row
