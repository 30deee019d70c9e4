"""If the best group is at the edge of the values tried, a command tries the next ones."""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gradclip import keys
from gradclip.compare.edges import Edge, edge_lines, edges
from gradclip.compare.grouping import group_runs
from gradclip.config.identity import file_digest
from tests.support.comparisons import by_threshold, compared, shift_seeds

TRAIN = "python src/train.py -m hydra/launcher=vectorized clip=norm"


def test_the_next_values_are_given_as_a_command() -> None:
    found = compared(by_threshold({"0.1": [9.0, 8.0], "1.0": [5.0, 6.0], "10.0": [1.0, 2.0]}))
    assert edge_lines(found) == [
        "The best group has the largest threshold tried (10). Try 30 and 100:",
        f"    {TRAIN} clip.value=30,100 seed=0,1",
    ]


def test_the_smallest_value_is_an_edge_and_the_command_keeps_the_seeds() -> None:
    runs = shift_seeds(by_threshold({"0.1": [1.0, 2.0], "1.0": [5.0, 6.0], "10.0": [9.0, 8.0]}), 7)
    assert edge_lines(compared(runs)) == [
        "The best group has the smallest threshold tried (0.1). Try 0.03 and 0.01:",
        f"    {TRAIN} clip.value=0.03,0.01 seed=7,8",
    ]


def test_a_threshold_that_clipped_nothing_is_no_edge() -> None:
    runs = by_threshold({"0.1": [9.0, 8.0], "1.0": [5.0, 6.0], "10.0": [1.0, 2.0]})
    unclipped = [replace(run, metrics=run.metrics | {keys.GRAD_CLIP_FRACTION: 0.004}) for run in runs]
    assert edge_lines(compared(runs))
    assert edge_lines(compared(unclipped)) == []


@pytest.mark.parametrize(
    "typed",
    [
        "model._target_=os.system",
        "callbacks={x:{_target_:os.system}}",
        "clip.parameters=${oc.env:PGPASSWORD}",
        "clip.parameters=$\\{oc.env:PGPASSWORD}",
        "data.path=private.csv",
        "+experiment=../../x/evil",
    ],
)
def test_a_command_of_a_run_that_anyone_may_have_written_has_only_plain_settings(typed: str) -> None:
    runs = by_threshold({"0.1": [9.0, 8.0], "1.0": [5.0, 6.0], "10.0": [1.0, 2.0]})
    kept = f"python src/train.py trainer.max_epochs=5 'tracking.uri=http://elsewhere' {shlex.quote(typed)}"
    found = compared([replace(run, tags=run.tags | {keys.COMMAND: kept}) for run in runs])
    assert edge_lines(found) == ["The best group has the largest threshold tried (10). Try 30 and 100."]
    _, command = edge_lines(replace(found, typed=[typed]))  # the user, too, has typed this
    assert shlex.split(command)[4:6] == ["trainer.max_epochs=5", typed]
    assert "elsewhere" not in command


def test_a_command_keeps_the_table_if_its_content_is_that_of_the_run(tmp_path: Path) -> None:
    (path := tmp_path / "table.csv").write_text("a,b\n1,2\n")
    runs = by_threshold({"0.1": [9.0, 8.0], "1.0": [5.0, 6.0], "10.0": [1.0, 2.0]})
    tags = {keys.COMMAND: f"python src/train.py data=table data.path={path}", keys.DATA_DIGEST: file_digest(str(path))}
    found = compared([replace(run, tags=run.tags | tags) for run in runs])
    assert f" data=table data.path={path} " in edge_lines(found)[1]
    path.write_text("a,b\n1,3\n")
    assert edge_lines(found) == ["The best group has the largest threshold tried (10). Try 30 and 100."]


def test_a_command_keeps_the_store_and_the_values_that_the_user_typed() -> None:
    runs = by_threshold({"0.1": [9.0, 8.0], "1.0": [5.0, 6.0], "10.0": [1.0, 2.0]})
    stored = r"python src/train.py 'tracking.uri=sqlite\:////a.db' model._target_=my.Net log_model=False"
    found = compared([replace(run, tags=run.tags | {keys.COMMAND: stored}) for run in runs])
    typed = ["tracking.uri=sqlite:////a.db", "model._target_=my.Other,my.Net"]
    kept = "model._target_=my.Net log_model=False tracking.uri=sqlite:////a.db"
    assert f" {kept} " in edge_lines(replace(found, typed=typed))[1]


def test_a_seed_of_thousands_of_digits_is_left_out_of_the_command() -> None:
    runs = by_threshold({"0.1": [9.0, 8.0], "1.0": [5.0, 6.0], "10.0": [1.0, 2.0]})
    runs[-1].parameters["seed"] = "9" * 5000
    assert edge_lines(compared(runs))[1].endswith("clip.value=30,100 seed=0")


@pytest.mark.parametrize(
    "scores",
    [
        {"0.1": [9.0], "1.0": [1.0], "10.0": [9.0]},  # not at an edge
        {"0.1": [9.0], "1.0": [1.0]},  # too few values
        {"0.1": [np.nan], "1.0": [np.nan], "10.0": [np.nan]},
    ],
)
def test_other_grids_have_no_edge(scores: dict[str, list[float]]) -> None:
    assert edge_lines(compared(by_threshold(scores))) == []


@pytest.mark.parametrize("method", ["auto", "quantile"])
def test_a_percentile_has_no_edge(method: str) -> None:
    runs = by_threshold({"10": [9.0], "50": [5.0], "100": [1.0]}, clip__name=method)
    assert edges(compared(runs)) == []


def test_a_learning_rate_has_edges_too() -> None:
    runs = [
        run
        for rate, score in (("0.001", 9.0), ("0.01", 5.0), ("0.1", 1.0))
        for run in by_threshold({"1.0": [score]}, optimizer__lr=rate)
    ]
    assert edges(compared(runs)) == [Edge("optimizer.lr", 0.1, is_largest=True)]


def test_groups_that_mix_methods_have_no_edge() -> None:
    runs = by_threshold({"0.1": [9.0], "1.0": [5.0], "10.0": [1.0]})
    runs += by_threshold({"0.1": [9.0], "1.0": [5.0], "10.0": [1.0]}, clip__name="value")
    found = compared(runs)
    mixed = replace(found, grouping=group_runs(runs, by=["clip.value"]))
    assert edges(mixed) == []


def test_a_command_repeats_the_launcher_that_the_user_typed() -> None:
    found = compared(by_threshold({"0.1": [9.0, 8.0], "1.0": [5.0, 6.0], "10.0": [1.0, 2.0]}))
    typed = ["clip.value=0.1,1,10", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    command = edge_lines(replace(found, typed=typed))[1]
    assert command.startswith("    python src/train.py -m hydra/launcher=joblib hydra.launcher.n_jobs=2 clip=norm")


@pytest.mark.parametrize("setting", ["module._target_", "data._target_", "callbacks.early_stopping._target_"])
def test_code_of_the_user_s_own_gets_no_launcher_that_cannot_stack_it(setting: str) -> None:
    runs = by_threshold({"0.1": [9.0, 8.0], "1.0": [5.0, 6.0], "10.0": [1.0, 2.0]})
    for run in runs:
        run.parameters[setting] = "my.Class"
    assert edge_lines(compared(runs))[1].startswith("    python src/train.py -m clip=norm")
