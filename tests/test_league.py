"""The league of clipping methods on a small scale: its training runs, its continuation after a stop, and its tables."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pandas as pd
import pytest
import torch

from gradclip.config.schema import TrainConfig
from gradclip.stacked.training import StackedTraining
from gradclip.training.components import build_components
from tests.benchmarks import league, league_methods
from tests.benchmarks.league_methods import METHODS, limit_during_backward
from tests.benchmarks.league_page import BEGIN, END, write_page
from tests.benchmarks.league_problems import PROBLEMS, Problem
from tests.benchmarks.league_standings import standings_of


def short(problem: Problem) -> Problem:
    """Return a problem that trains in no time."""
    sequences = ("data.validation_sequences=100", "data.test_sequences=100", "data.steps_per_epoch=2")
    options = sequences if any(text.startswith("data.steps_per_epoch") for text in problem.overrides) else ()
    return replace(problem, overrides=(*problem.overrides, "trainer.max_epochs=1", *options))


def test_every_method_is_trained_once_and_the_page_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(league_methods, "HALF_DECADES", (0.1, 1.0))
    monkeypatch.setattr(league_methods, "PERCENTILES", (10.0,))
    problems, path = [short(PROBLEMS[0])], tmp_path / "league.parquet"
    league.train_missing(path, [*problems, short(PROBLEMS[-1])], METHODS[:4], seeds=1)
    results = league.train_missing(path, problems, METHODS, seeds=1)
    assert not results.duplicated(["problem", "method", "threshold", "seed"]).any()
    assert set(results[results.problem == "tutorial"].method) == {method.name for method in METHODS}
    assert set(results[results.method == "norm"].threshold) == {1.0, 10.0, 0.01, 0.1}
    monkeypatch.setattr(league, "train", lambda *_: pytest.fail("repeated a training run"))
    again = league.train_missing(path, problems, METHODS, seeds=1)
    (tmp_path / "league.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_page(again, tmp_path)
    page = (tmp_path / "league.md").read_text()
    assert page.startswith(f"before\n{BEGIN}\n\n### Over all problems")
    assert page.endswith(f"{END}\nafter\n")
    assert page.count("\n| norm | ") == 3
    assert "transformer" not in page  # only some methods have been trained on it
    assert (tmp_path / "league.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "problem", [PROBLEMS[0], next(problem for problem in PROBLEMS if problem.name == "copy")], ids=["rows", "sequences"]
)
def test_stacked_layers_clip_derivatives_like_an_ordinary_run(problem, tmp_path):
    (method,) = (method for method in METHODS if method.name == "activation")
    config = method.configs(short(problem), [method.thresholds(problem)[2]]).popitem()[1]
    (replica,) = short(problem).replicas([config])
    loose = replace(replica, config=_with_limit(config, 1e9))
    stacked = StackedTraining([limit_during_backward(replica), limit_during_backward(loose)], torch.device("cpu"))
    own, other = (result for _, result in sorted(chain.from_iterable(stacked.run()), key=lambda ended: ended[0]))
    parts = build_components(config, tmp_path)
    parts.trainer.fit(parts.module, parts.data)
    expected = dict(parts.module.network.named_parameters())
    for name, parameter in own.network.named_parameters():
        torch.testing.assert_close(parameter, expected[name])
    assert any(
        not torch.allclose(parameter, expected[name], equal_nan=True)
        for name, parameter in other.network.named_parameters()
    )


def _with_limit(config: TrainConfig, limit: float) -> TrainConfig:
    clip = config.clip.model_copy(update={"value": limit, "output_value": limit})
    return config.model_copy(update={"clip": clip})


def runs(method: str, threshold: float, validation: list[float], test: list[float]) -> list[tuple[object, ...]]:
    return [("p", method, threshold, seed, *errors) for seed, errors in enumerate(zip(validation, test, strict=True))]


def test_validation_rows_choose_and_test_rows_are_reported():
    rows = [
        *runs("a", 1.0, [1.0, 1.0, 1.0], [4.0, 4.0, 4.0]),
        *runs("a", 10.0, [2.0, 2.0, 2.0], [3.0, 3.0, 3.0]),
        *runs("b", 0.1, [9.0, np.inf, np.inf], [9.0, np.inf, np.inf]),
        *runs("b", 1.0, [5.0, 5.0, 5.0], [2.0, 2.0, 2.0]),
        *runs("b", 10.0, [5.0, 6.0, np.inf], [2.1, 2.1, np.inf]),
        *runs("b", 100.0, [7.0, 7.0, 7.0], [0.001, 2.3, 2.3]),
    ]
    standings = standings_of(pd.DataFrame(rows, columns=league.COLUMNS), {"p": 0.5})
    a, b = standings["a"]["p"], standings["b"]["p"]
    assert (a.threshold, a.regret.value, a.is_lowest, a.is_highest) == (1.0, 2.0, True, False)
    assert (b.threshold, b.regret.value, b.is_lowest, b.diverged, b.diverged_of_all) == (1.0, 1.0, False, 0.0, 0.25)
    assert b.near == (1.0, 10.0)
    assert b.decades == 1.0
