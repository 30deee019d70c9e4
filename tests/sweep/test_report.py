"""The table of solved runs that ends a multirun."""

import pytest
from omegaconf import OmegaConf

from gradclip.sweep.report import rounding_note, run_table, success_tables
from gradclip.sweep.results import JobResult


def jobs(**solved: list[bool | None]) -> list[JobResult]:
    runs = [(name, seed, one) for name, seeds in solved.items() for seed, one in enumerate(seeds)]
    return [JobResult(number, f"{name} seed={seed}", solved=one) for number, (name, seed, one) in enumerate(runs)]


def test_solved_runs_of_each_setting_are_counted_with_wilsons_interval() -> None:
    (table,) = success_tables(jobs(norm=[True] * 20, none=[False, True, False, False]))
    assert table.rows == [("norm", "20 of 20", "84% to 100%"), ("none", "1 of 4", "5% to 70%")]


def test_there_is_no_table_without_seeds_or_without_a_target() -> None:
    assert success_tables(jobs(norm=[True], none=[False])) == []
    assert success_tables(jobs(norm=[None, None])) == []


def test_the_table_on_a_terminal_has_what_failed_and_the_first_of_the_others() -> None:
    many = [JobResult(number, f"norm seed={number}", error="it broke" if number == 8 else "") for number in range(10)]
    table = run_table(many, max_rows=3)
    assert table.title == "10 runs, 3 of them here, all in runs.md"
    assert [row[0] for row in table.rows] == ["0", "1", "8"]
    assert run_table(many).title == "10 runs"


@pytest.mark.parametrize(
    ("launcher", "error", "noted"),
    [
        ({"_target_": "hydra_plugins.vectorized_launcher.VectorizedLauncher"}, "", True),
        ({"within": {"_target_": "hydra_plugins.vectorized_launcher.VectorizedLauncher"}}, "", True),
        ({"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}, "", False),
        ({"_target_": "hydra_plugins.vectorized_launcher.VectorizedLauncher"}, "it broke", False),
    ],
)
def test_rounding_is_named_where_jobs_were_stacked(launcher: dict[str, object], error: str, noted: bool) -> None:
    config = OmegaConf.create({"hydra": {"launcher": launcher}})
    assert bool(rounding_note(config, [JobResult(0, "norm", error=error)])) is noted
