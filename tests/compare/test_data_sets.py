"""Runs on different data, or with different scores, are never ranked together."""

from dataclasses import replace

import pytest

from gradclip import keys
from gradclip.compare.data_sets import choose_data
from gradclip.errors import ConfigError
from gradclip.tracking.stored_runs import StoredRun
from tests.compare.test_grouping import run


def on(name: str, seed: int = 0, digest: str = "", metric: str = "final/mse_test", **parameters: str) -> StoredRun:
    found = run("none", seed, data__name=name, **parameters)
    tags = found.tags | ({keys.DATA_DIGEST: digest} if digest else {})
    return replace(found, tags=tags, metrics={metric: 1.0})


def test_the_newest_data_set_is_chosen_and_the_others_are_named() -> None:
    runs = [on("diabetes"), on("regression"), on("diabetes", 1), on("temporal_order", metric="final/accuracy_test")]
    chosen = choose_data(runs)
    assert (chosen.name, len(chosen.runs)) == ("temporal_order", 1)
    assert chosen.others == {"diabetes": 2, "regression": 1}
    assert [one.parameters["seed"] for one in choose_data(runs, "diab").runs] == ["0", "1"]


def test_settings_of_the_examples_make_another_data_set_but_settings_of_their_preparation_do_not() -> None:
    runs = [on("adding", data__length=length, data__scale_target=scale) for length in "12" for scale in ("none", "std")]
    chosen = choose_data(runs)
    assert (chosen.name, len(chosen.runs), chosen.others) == ("adding length=2", 2, {"adding length=1": 2})


@pytest.mark.parametrize(("name", "listed"), [("nothing", "'b', 'a 2', 'a 1'"), ("a", "'a 2', 'a 1'")])
def test_a_name_that_matches_none_or_several_is_refused(name: str, listed: str) -> None:
    with pytest.raises(ConfigError, match=f"data_set: got '{name}'; the runs have {listed}"):
        choose_data([on("a 1"), on("a 2"), on("b")], name)


def test_a_table_is_identified_by_its_content_not_by_its_path() -> None:
    same = [
        on("table", 0, "a" * 64, data__path="houses.csv"),
        on("table", 1, "a" * 64, data__path="/data/houses.csv"),
    ]
    assert (choose_data(same).name, choose_data(same).others) == ("houses.csv", {})
    changed = choose_data([*same, on("table", 2, "b" * 64, data__path="houses.csv")])
    assert (changed.name, changed.others) == ("houses.csv (bbbbbbbb)", {"houses.csv (aaaaaaaa)": 2})


def test_two_files_with_the_same_name_are_two_data_sets() -> None:
    chosen = choose_data([on("table", data__path="a/houses.csv"), on("table", data__path="b/houses.csv")])
    assert (chosen.name, chosen.others) == ("houses.csv (1)", {"houses.csv (2)": 1})


def test_runs_on_a_users_data_are_never_ranked_with_older_ones_that_stored_validation_as_test() -> None:
    own = {"name": "own", "data___target_": "my_data.Mine"}
    older = [on(**own, seed=seed) for seed in range(2)]
    assert (choose_data(older).name, choose_data(older).others) == ("Mine", {})
    newer = on(**own, seed=2, metric="final/mse_validation")
    both = choose_data([*older, newer])
    assert (both.name, both.runs, both.others) == ("Mine split=validation", [newer], {"Mine split=test": 2})


def test_runs_with_validation_rows_and_older_ones_without_are_never_ranked_together() -> None:
    older = [on("diabetes", seed) for seed in range(2)]
    chosen = choose_data([*older, on("diabetes", 2, data__validation_fraction="0.2")])
    assert (chosen.name, chosen.others) == ("diabetes validation_fraction=0.2", {"diabetes": 2})
    without = [on("regression", 0), on("regression", 1, data__validation_fraction="0.0")]
    assert choose_data(without).others == {}
