"""Tables and sentences of a comparison say what its tests show and leave out what they cannot."""

from math import inf, nan

import pytest

from gradclip.compare.design import design_lines, design_sentence
from gradclip.compare.report import methods_note, print_findings, short_table, tables, verdicts
from tests.support.comparisons import by_threshold, compared, ended_run, shift_seeds, validated


def many_groups() -> list[str]:
    return [f"{value / 10}" for value in range(1, 31)]


def test_the_short_table_has_the_best_groups_and_their_tests_against_the_best() -> None:
    found = compared(by_threshold({"0.5": [50.0] * 4, "1.0": [10.0, 11, 12, 13], "5.0": [20.0, 21, 22, float("nan")]}))
    table = short_table(found, width=120)
    assert table.title == "final/mse_test of 12 runs on regression: a list"
    # too few runs for intervals
    assert table.columns == ("group", "runs", "median", "diverged", "clipped", "p vs best")
    assert [row[0] for row in table.rows] == ["norm=1.0", "norm=5.0", "norm=0.5"]
    assert [row[3] for row in table.rows] == ["0 of 4", "1 of 4", "0 of 4"]
    assert [row[5] for row in table.rows] == ["best", "0.12", "0.12"]
    assert "clipped" not in short_table(found, width=80).columns


def test_the_output_for_a_full_store_fits_on_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    runs = by_threshold({value: [float(value), float(value) + 1] for value in many_groups()})
    print_findings(compared([ended_run(0.9, 0, metric="final/accuracy_test", data__name="copy"), *runs]))
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) <= 60
    assert "Only runs on regression are compared. Set data_set=... to compare others: copy (1)." in printed
    assert "Only the best 12 of 30 groups were tested" in printed


def test_the_title_of_the_short_table_says_that_it_omits_groups() -> None:
    one_seed = compared(by_threshold({value: [float(value)] for value in many_groups()}))
    table = short_table(one_seed, width=120)
    assert len(table.rows) == 12
    assert table.title == "final/mse_test of 30 runs on regression: a list; best 12 of 30 groups"


def test_the_files_have_every_group_with_its_settings() -> None:
    found = tables(compared(by_threshold({value: [float(value)] for value in many_groups()})))
    assert [table.title for table in found][1:] == ["Settings"]
    assert all(len(table.rows) == 30 for table in found)


@pytest.mark.parametrize(
    ("seeds", "tests", "expected"),
    [
        (
            3,
            None,
            "3 seeds cannot show a difference at the 5% level (smallest possible p: 0.25). Use at least 6 seeds.",
        ),
        (6, None, "6 seeds can show a difference at the 5% level (smallest possible p: 0.031)."),
        (1, None, "1 seed per group cannot show a difference. Use at least 6 seeds."),
        (
            7,
            66,
            "7 runs per group, not in pairs, can show a difference at the 5% level (smallest possible p: 0.038).",
        ),
    ],
)
def test_the_differences_that_a_design_can_show(seeds: int, tests: int | None, expected: str) -> None:
    assert design_sentence(seeds, tests) == expected


@pytest.mark.parametrize("shared", [True, False])
def test_the_smallest_possible_p_value_is_that_of_the_test(shared: bool) -> None:
    first, *others = ([*range(low, low + 6)] for low in (10, 20, 30))
    good = shift_seeds(by_threshold({"1.0": first}), 0 if shared else 50)
    found = compared([*good, *by_threshold({"5.0": others[0], "9.0": others[1]})])
    assert [pair.paired for pair in found.pairs] == [shared, shared]
    (sentence,) = design_lines(found)
    assert f"{found.pairs[-1].p_value:.2g}" in sentence
    assert ("not in pairs" in sentence) is not shared


def test_equally_good_groups_are_distinguished_from_inconclusive_ones() -> None:
    scores = [10.0, 20, 30, 40, 50, 60, 70, 80]
    uncertain = [score * factor for score, factor in zip(scores, [0.9, 1.3] * 4, strict=True)]
    found = compared(by_threshold({"1.0": scores, "5.0": [score + 0.2 for score in scores], "9.0": uncertain}))
    assert "As good as norm=1.0 within a factor of 1.1 (two one-sided tests): norm=5.0." in verdicts(found)
    unknown = "No significant difference between norm=1.0 and norm=9.0, nor are they shown to be equally good."
    assert unknown in verdicts(found)
    assert [row[-1] for row in tables(found)[-1].rows] == ["yes", "not shown"]


def test_a_best_group_of_one_run_is_not_tested() -> None:
    found = compared(by_threshold({"1.0": [1.0], "5.0": [5.0, 6, 7, 8, 9, 10]}))
    assert found.pairs == []
    assert "seed" not in methods_note(found)
    assert "The best group has one seed only, so nothing was tested. Use at least 6 seeds." in verdicts(found)


def test_nothing_is_tested_if_every_other_group_has_one_run() -> None:
    found = compared(by_threshold({"1.0": [1.0, 2, 3], "5.0": [5.0], "9.0": [9.0]}))
    assert design_lines(found) == ["Every other group has one seed only, so nothing was tested. Use at least 6 seeds."]


def test_only_shared_seeds_count_in_paired_tests() -> None:
    scores = [*range(10, 20)]
    found = compared(
        [*by_threshold({"1.0": scores}), *shift_seeds(by_threshold({"5.0": [2 * one for one in scores]}), 5)]
    )
    assert found.pairs[0].p_value == 2 / 2**5  # exact, although the groups have 15 seeds together
    assert design_lines(found) == [
        "5 seeds cannot show a difference at the 5% level (smallest possible p: 0.062). Use at least 6 seeds.",
        "norm=1.0 has 10 seeds; others share at most 5 of them.",
    ]


def test_a_group_with_a_worse_median_that_ranks_significantly_better_is_named() -> None:
    steady = [float(seed) for seed in range(10, 30)]
    broken = [score - 0.1 for score in steady[:11]] + [inf] * 9
    best, ahead, *_ = verdicts(compared(by_threshold({"1.0": broken, "5.0": steady})))
    assert best.startswith("Best median: norm=1.0, 19.4; significantly better than 0 of 1")
    assert ahead == "Significantly better than norm=1.0 by the ranks of all runs, in spite of a worse median: norm=5.0."


def test_accuracies_are_equally_good_if_their_fractions_of_wrong_predictions_are() -> None:
    values = {"1.0": 0.99, "5.0": 0.91, "9.0": 0.9895}
    runs = [
        ended_run(accuracy, seed, metric="final/accuracy_test", clip__value=value)
        for value, accuracy in values.items()
        for seed in range(8)
    ]
    found = compared(runs)
    assert [(pair.other(found.best).group.label, pair.equivalent) for pair in found.pairs] == [
        ("norm=9.0", True),
        ("norm=5.0", False),
    ]
    assert "ratios of fractions of wrong predictions" in methods_note(found)


def test_the_command_for_advice_is_printed_if_every_group_diverged() -> None:
    found = compared(by_threshold({"1.0": [nan] * 2, "5.0": [nan] * 2}))
    first, purpose, command, *others = verdicts(found)
    assert first.endswith("none of these settings works.")  # the title of the multirun's page in MLflow
    assert purpose == "To find one that does:"
    assert command.startswith("    python src/advise.py ")
    assert "run=" in command
    assert not any("equally good" in line for line in others)
    assert "p vs best" not in short_table(found, width=120).columns


def test_groups_with_fewer_seeds_are_counted() -> None:
    scores = {"1.0": [1.0, 2, 3, 4], "5.0": [5.0, 6, 7, 8], "9.0": [9.0, 9.5], "10.0": [11.0]}
    assert "2 of 4 groups have fewer seeds." in verdicts(compared(by_threshold(scores)))
    del scores["10.0"]
    assert "1 of 3 groups has fewer seeds." in verdicts(compared(by_threshold(scores)))


def test_the_best_is_chosen_on_validation_rows_and_its_test_score_is_reported() -> None:
    on_test = {"1.0": [30.0, 31, 32, 33, 34, 35], "5.0": [10.0, 11, 12, 13, 14, 15]}
    runs = validated(by_threshold(on_test), [*range(1, 7), *range(21, 27)])
    found = compared(runs)
    first, *_ = verdicts(found)
    assert (
        first
        == "Best: norm=1.0, median 3.50 (32.5 on the test rows); significantly better than every other group tested."
    )
    assert not any("Chosen on" in line for line in verdicts(found))
    table = short_table(found, width=120)
    assert table.title.startswith("final/mse_validation of 12 runs")
    assert table.columns == ("group", "runs", "median (95%)", "median on test", "clipped", "p vs best")
    assert [row[3] for row in table.rows] == ["32.5", "12.5"]
    groups, *_ = tables(found)
    assert groups.columns.index("median on test") == 4
    assert [row[4] for row in groups.rows] == ["32.5 (30.0 to 35.0)", "12.5 (10.0 to 15.0)"]


def test_a_choice_on_test_rows_is_reported_once_and_only_if_there_was_a_choice() -> None:
    runs = by_threshold({"1.0": [30.0, 31], "5.0": [10.0, 11]})
    assert verdicts(compared(runs))[1].startswith("Chosen on the test rows: this data set has no validation rows, so")
    asked = verdicts(compared(validated(runs, [1.0, 2, 3, 4]), split="test"))
    assert [line for line in asked if "Chosen on" in line] == [
        "Chosen on the test rows: split=test selects them, so the best looks better than it is."
    ]
    assert asked[0].startswith("Best median: norm=5.0, 10.5;")
    assert "Chosen on" not in " ".join(verdicts(compared(runs[:2])))
    diverged = compared(by_threshold({"1.0": [inf, inf], "5.0": [inf, inf]}))
    assert "Chosen on" not in " ".join(verdicts(diverged))
