"""Comparisons of runs in a real SQLite store rank the groups, draw what the settings allow and write their tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradclip import keys
from gradclip.compare.comparison import compare, group_frame, write_tables
from gradclip.compare.report import format_estimate, tables, verdicts
from gradclip.errors import ConfigError, TrackingError
from gradclip.tracking.records import Parent, Store
from tests.support.comparisons import compared, ended_run
from tests.support.stores import make_store, write_run

SEEDS = range(6)
NAN = float("nan")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return a store with four groups of six seeds: a good, a bad and a half-diverging threshold, and no clipping."""
    folder = tmp_path_factory.mktemp("compared")
    store, parent = make_store(folder), Parent(str(folder), "clip.value=1,5,50 seed=range(6)", {})
    for seed in SEEDS:
        write_run(store, 10 + seed, seed, {"clip.value": "1.0"}, np.geomspace(1000, 10 + seed, 20), parent)
        write_run(store, 101 + seed, seed, {"clip.value": "5.0"}, np.geomspace(1000, 101 + seed, 20), parent)
        broken = seed % 2 == 0
        curve = [900.0, NAN] if broken else [900.0, 90.0]
        write_run(store, NAN if broken else 90.0, seed, {"clip.value": "50.0"}, curve, parent)
        write_run(store, NAN, seed, {"clip.name": "none"}, [5000.0], parent)
    write_run(store, 0.0, 99, {}, parent=parent, status="FAILED")
    return store


def parent_of(store: Store) -> str:
    from gradclip.tracking.backend.operations import Backend

    parent = Backend(store).select_runs(None).parent
    assert parent is not None
    return parent


def test_groups_are_summarized_and_sorted(store: Store, tmp_path: Path) -> None:
    found = compare(store, None, tmp_path, target=100.0)
    assert [summary.group.label for summary in found.summaries] == ["norm=1.0", "norm=5.0", "norm=50.0", "none"]
    best, second, half, none = found.summaries
    assert best.median.value == 12.5
    assert second.median.value == 103.5
    assert half.median.value == np.inf  # the lower median is 90, the upper one diverged
    assert half.count("diverged") == 3
    assert none.outcomes["diverged"].value == 1
    # The curve 1000·(error/1000)^(k/19) is 100 at k = 9.5 to 10.4, and k = 0 is epoch 1.
    assert best.epochs_to_target.tolist() == [11] * 3 + [12] * 3
    assert np.isinf(second.epochs_to_target).all()
    assert found.selection.unfinished == 1
    assert found.selection.parent == parent_of(store)


def test_tables_sentences_and_files_report_every_group(store: Store, tmp_path: Path) -> None:
    found = compare(store, parent_of(store), tmp_path, target=100.0)
    groups, settings, pairs = tables(found)
    assert groups.columns[:4] == ("group", "runs", "median", "interquartile mean")
    assert settings.rows[0] == ("norm=1.0", "norm", "1.0")
    assert groups.rows[0][:3] == ("norm=1.0", "6", "12.5 (10.0 to 15.0)")
    assert groups.rows[2][2] == "diverged (90.0 to diverged)"
    assert {row[0] for row in pairs.rows} == {"norm=1.0"}
    sentences = verdicts(found)
    assert sentences[0] == "Best: norm=1.0, median 12.5; significantly better than every other group tested."
    assert "Ignored runs that failed or have not finished: 1." in sentences
    markdown = (tmp_path / "comparison.md").read_text()
    assert "| norm=1.0 | norm=50.0 | 1.00 |" in markdown
    assert "sign-flip" in markdown
    frame = pd.read_csv(tmp_path / "groups.csv")
    assert frame["median"].tolist()[:2] == [12.5, 103.5]
    assert frame["median"].isna().tolist() == [False, False, True, True]
    assert frame["diverged"].tolist() == [0, 0, 3, 6]
    pairs_frame = pd.read_csv(tmp_path / "pairs.csv")
    assert len(pairs_frame) == 3
    assert {"p_value", "significant", "equivalence_p_value"} <= set(pairs_frame.columns)  # programs of users read them
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {
        "all_runs", "gradient_norms", "learning_curves", "threshold",
    }  # fmt: skip


def test_the_interval_of_a_score_where_higher_is_better_runs_upwards() -> None:
    runs = [ended_run(seed / 10, seed, metric="final/accuracy_test") for seed in range(6)]
    found = compared(runs)
    (row,) = group_frame(found).to_dict("records")
    assert (row["median_low"], row["median"], row["median_high"]) == (0.0, 0.25, 0.5)
    assert format_estimate(found.summaries[0].median, found.metric) == "25.0% (0.0% to 50.0%)"


def test_curves_target_and_files_use_the_validation_rows(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    for threshold, on_validation, on_test in (("1.0", [9.0, 4.0, 2.0], 8.0), ("5.0", [9.0, 8.0, 5.0], 3.0)):
        for seed in range(2):
            write_run(store, on_test, seed, {"clip.value": threshold}, [9.0, on_test], on_validation=on_validation)
    found = compare(store, "gradclip", tmp_path / "out", draw=False)
    assert found.metric.name == "final/mse_validation"
    assert found.target == 3.5
    assert [one.epochs_to_target.tolist() for one in found.summaries] == [[3, 3], [np.inf, np.inf]]
    frame = pd.read_csv(tmp_path / "out/groups.csv")
    assert frame[["group", "metric", "median", "test_median"]].to_numpy().tolist() == [
        ["norm=1.0", "final/mse_validation", 2.0, 8.0],
        ["norm=5.0", "final/mse_validation", 5.0, 3.0],
    ]
    assert "median on test" in (tmp_path / "out/comparison.tex").read_text()
    asked = compare(store, "gradclip", tmp_path / "asked", draw=False, split="test")
    assert [one.group.label for one in asked.summaries] == ["norm=5.0", "norm=1.0"]
    assert "test_median" not in pd.read_csv(tmp_path / "asked/groups.csv")


def test_groups_without_a_significant_difference_are_reported(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    for seed in SEEDS:
        write_run(store, 10 + seed, seed, {"clip.value": "1.0"})
        write_run(store, 10 + seed * (1.5 if seed % 2 else 0.6), seed, {"clip.value": "5.0"})
    found = compare(store, "gradclip", tmp_path / "out", draw=False)
    (pair,) = found.pairs
    assert not pair.significant
    assert pair.improvement.low < 0.5 < pair.improvement.high
    assert any(line.startswith("No significant difference between norm=") for line in verdicts(found))


def test_only_the_next_best_of_many_groups_without_a_significant_difference_are_named(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    for index in range(6):
        for seed in (0, 1):
            write_run(store, 10 + seed + 0.1 * index, seed, {"clip.value": str(float(index))})
    found = verdicts(compare(store, "gradclip", tmp_path / "out", draw=False))
    (sentence,) = (line for line in found if line.startswith("No significant difference"))
    others = "norm=1.0, norm=2.0, norm=3.0 and 2 more"
    assert sentence.startswith(f"No significant difference between norm=0.0 and {others}, nor ")


def test_a_grid_of_two_settings_is_drawn(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    for value in (1, 10):
        for rate in (0.1, 0.2):
            write_run(store, value * rate, 0, {"clip.value": str(value), "optimizer.lr": str(rate)})
    found = compare(store, "tags.clip LIKE 'norm%'", tmp_path / "out")
    assert (tmp_path / "out/figures/heat_map.png").exists()
    assert found.pairs == []  # one run each: nothing to test
    assert "1 seed per group cannot show a difference. Use at least 6 seeds." in verdicts(found)


def test_a_grid_that_is_mostly_empty_is_not_drawn(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    for value in (1, 2, 3):
        write_run(store, value, 0, {"clip.value": str(value), "optimizer.lr": str(value / 10)})
    compare(store, "tags.clip LIKE 'norm%'", tmp_path / "out")
    assert not (tmp_path / "out/figures/heat_map.png").exists()


def test_commands_can_be_copied_from_the_markdown(tmp_path: Path) -> None:
    typed = "data.scale_target=standard"
    write_tables(tmp_path, compared([ended_run(30 / value, 0, typed, clip__value=str(value)) for value in (1, 3, 10)]))
    command = f"python src/train.py -m hydra/launcher=vectorized clip=norm {typed} clip.value=30,100 seed=0"
    assert f"\n\n    {command}" in (tmp_path / "comparison.md").read_text()


def test_several_ids_and_a_parent_select_the_same_runs(store: Store, tmp_path: Path) -> None:
    family = compare(store, parent_of(store), tmp_path, draw=False)
    ids = [run.run_id for run in family.selection.runs]
    chosen = compare(store, ids[:3], tmp_path, draw=False)
    assert [run.run_id for run in chosen.selection.runs] == ids[:3]
    assert chosen.selection.parent is None


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ([], "runs: got []; it selects no finished training run"),
        ("nowhere", "runs: got 'nowhere'; it is neither a filter nor an experiment in sqlite"),
        ("0" * 32, "runs: got '00000000000000000000000000000000'; there is no such run"),
        ("tags.clip ~ 'x' = 3", "runs: got \"tags.clip ~ 'x' = 3\"; "),
        ("tags.clip = 'nothing'", "runs: got \"tags.clip = 'nothing'\"; it selects no finished training run"),
    ],
)
def test_a_query_that_selects_nothing_is_an_error(
    store: Store, tmp_path: Path, query: str | list[str], message: str
) -> None:
    with pytest.raises((ConfigError, TrackingError)) as raised:
        compare(store, query, tmp_path)
    assert str(raised.value).startswith(message)


def test_a_metric_that_is_not_a_score_has_no_epochs_to_target(store: Store, tmp_path: Path) -> None:
    found = compare(store, None, tmp_path, metric=keys.GRAD_NORM_P90)
    assert found.metric.curve == ""
    assert not any(column.startswith("epochs") for column in tables(found)[0].columns)
    assert found.summaries[0].median.value == 5
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"all_runs", "gradient_norms", "threshold"}


def test_a_metric_that_no_run_has_is_an_error(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"metric: got 'final/mse_tst'; no run has it .did you mean 'final/mse_test'"):
        compare(store, None, tmp_path, metric="final/mse_tst")


def test_a_missing_store_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="there is no such store"):
        compare(make_store(tmp_path / "none"), None, tmp_path)
    assert not (tmp_path / "none").exists()
