"""What a comparison says."""

import pytest

from gradclip.compare.design import design_sentence
from gradclip.compare.report import print_findings, short_table, tables, verdicts
from tests.support.comparisons import by_threshold, compared, ended_run


def many_groups() -> list[str]:
    return [f"{value / 10}" for value in range(1, 31)]


def test_the_short_table_has_the_best_groups_and_their_test_against_the_very_best() -> None:
    found = compared(by_threshold({"0.5": [50.0] * 4, "1.0": [10.0, 11, 12, 13], "5.0": [20.0, 21, 22, float("nan")]}))
    table = short_table(found, width=120)
    assert table.title == "final/mse_test of 12 runs on regression: a list"
    assert table.columns == ("group", "runs", "median (95%)", "diverged", "clipped", "p vs best")
    assert [row[0] for row in table.rows] == ["norm=1.0", "norm=5.0", "norm=0.5"]
    assert [row[3] for row in table.rows] == ["0 of 4", "1 of 4", "0 of 4"]
    assert [row[5] for row in table.rows] == ["best", "0.086", "0.086"]
    assert "clipped" not in short_table(found, width=80).columns


def test_what_is_printed_of_a_full_store_fits_on_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    runs = by_threshold({value: [float(value), float(value) + 1] for value in many_groups()})
    print_findings(compared([ended_run(0.9, 0, metric="final/accuracy_test", data__name="copy"), *runs]))
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) <= 60
    assert "Compared are the runs on regression; for others give data_set=...: copy (1)." in printed
    assert "Only the best 12 of 30 groups were tested" in printed


def test_the_files_have_every_group_with_its_settings() -> None:
    found = tables(compared(by_threshold({value: [float(value)] for value in many_groups()})))
    assert [table.title for table in found][1:] == ["Settings"]
    assert all(len(table.rows) == 30 for table in found)


@pytest.mark.parametrize(
    ("groups", "seeds", "expected"),
    [
        (9, 3, "3 seeds and 36 pairs can tell nothing apart at 5%: the smallest possible p is 1; 7 seeds or more can."),
        (2, 4, "4 seeds and 1 pair can tell groups apart at 5%: the smallest possible p is 0.029."),
        (3, 1, "One seed each can tell nothing apart; with 3 pairs, 5 seeds or more can."),
        (400, 7, "7 seeds and 66 pairs can tell groups apart at 5%: the smallest possible p is 0.038."),
    ],
)
def test_what_a_design_can_tell(groups: int, seeds: int, expected: str) -> None:
    assert design_sentence(groups, seeds) == expected


def test_the_smallest_possible_p_is_what_the_test_gives() -> None:
    (pair,) = compared(by_threshold({"1.0": [1.0, 2, 3, 4], "5.0": [5.0, 6, 7, 8]})).pairs
    assert f"{pair.p_value:.2g}" in design_sentence(2, 4)


def test_groups_with_fewer_seeds_are_counted() -> None:
    scores = {"1.0": [1.0, 2, 3, 4], "5.0": [5.0, 6, 7, 8], "9.0": [9.0, 9.5], "10.0": [11.0]}
    assert "2 of 4 groups have fewer seeds." in verdicts(compared(by_threshold(scores)))
