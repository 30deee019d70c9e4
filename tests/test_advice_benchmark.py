"""The benchmark of advice computes regrets and its table from known scores, and runs on a tiny problem."""

from math import inf

import pytest

from tests.benchmarks import advice, advice_problems, advice_regret
from tests.benchmarks.advice_problems import HELD_OUT, KNOWN, NORM, UNCLIPPED, Problem
from tests.benchmarks.advice_regret import (
    ADAM,
    CLIPPED,
    PLAIN,
    SCALED_TARGET,
    SMALLER_RATE,
    Candidate,
    Judged,
    Tried,
    best,
    candidates,
    kind_of,
    regret,
)
from tests.benchmarks.advice_tables import TABLES
from tests.benchmarks.advice_trials import Laboratory, Trials

TINY = Problem("tiny", ("data.samples=80", "data.features=2", "trainer.max_epochs=2"), UNCLIPPED, 100.0, True)


def trials(test: list[float], choosing: list[float] | None = None, score: str = "mse") -> Trials:
    return Trials(choosing or test, test, ["learned"] * len(test), "validation", score)


def tried(name: str, role: str, of: Trials, *settings: str) -> Tried:
    return Tried(Candidate(role, name, settings), of)


@pytest.mark.parametrize(
    ("advised", "other", "score", "expected"),
    [
        ([1.0, 3.0, 2.0], [1.0, 1.0, 1.0], "mse", 2.0),
        ([inf, inf, 2.0], [1.0, 1.0, 1.0], "mse", inf),
        ([inf, 2.0, 2.0], [1.0, 1.0, 1.0], "mse", 2.0),
        ([0.0], [0.0], "accuracy", 1.0),  # both solve the task
        ([0.05], [0.001], "accuracy", 5.0),  # relative to an accuracy of 99%, at which a task counts as solved
    ],
)
def test_regret_is_the_ratio_of_median_test_errors(advised, other, score, expected):
    assert regret(trials(advised, score=score), trials(other, score=score)) == pytest.approx(expected)


def test_the_best_is_chosen_on_validation_rows_and_reported_on_test_rows():
    lucky = tried("lucky", CLIPPED, trials([1.0], [3.0]))
    chosen = tried("chosen", PLAIN, trials([2.0], [1.0]))
    assert best([lucky, chosen]) is chosen
    assert best([lucky, chosen], CLIPPED) is lucky
    assert Judged(TINY, tried("advised", "advised", trials([3.0])), None, [lucky, chosen]).regret == 1.5


def test_candidates_are_thresholds_and_plain_remedies_with_two_schedules():
    found = candidates(TINY._replace(start=NORM), 0.01)
    names = [one.name for one in found]
    assert names[0] == "original"
    assert found[0].settings[-2:] == NORM
    assert {SCALED_TARGET, f"{SMALLER_RATE} 0.1", f"{SMALLER_RATE} 0.01, decay", ADAM} <= {*names}
    assert sum(one.role == CLIPPED for one in found) == 2 * len(advice_regret.FACTORS)
    assert all("clip=none" in one.settings for one in found if one.role == PLAIN)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        (("clip=none", "data.scale_target=standard"), SCALED_TARGET),
        (("clip=none", "optimizer.lr=0.001"), SMALLER_RATE),
        (("clip=none", "optimizer=adam", "schedule=warmup_cosine"), ADAM),
        (("clip=norm", "optimizer.lr=0.001"), ""),
        (("clip=none", "trainer.max_epochs=3"), ""),
    ],
)
def test_a_plain_remedy_is_recognized_by_its_settings(changes, kind):
    assert kind_of((*TINY.task, *changes), TINY) == kind


def test_a_plain_remedy_counts_as_named_first_if_it_is_the_best():
    scaled = tried(SCALED_TARGET, PLAIN, trials([1.0]), *TINY.task, "clip=none", "data.scale_target=standard")
    clipped = tried("norm 1", CLIPPED, trials([2.0]), *TINY.task, "clip=norm", "clip.value=1")
    assert Judged(TINY, scaled, None, [scaled, clipped]).names_it_first
    assert not Judged(TINY, clipped, None, [scaled, clipped]).names_it_first
    assert not Judged(TINY, clipped, None, [clipped]).names_it_first


def test_the_summary_counts_what_is_in_the_table():
    clipped = tried("norm 1", CLIPPED, trials([2.0]), "clip=norm", "clip.value=1")
    diverged = tried("advised", "advised", trials([inf]))
    judged = [Judged(TINY, clipped, diverged, [clipped]), Judged(TINY, diverged, None, [clipped])]
    text = advice.summary(judged)
    assert "median inf, worst inf (tiny, `clip=none`); above 1.5 in 1 of 2 problems" in text
    assert "The second suggestion diverged in 1 of the 1 problems that have one." in text
    assert "| **inf** |" in advice.row(
        judged[1]._replace(
            tried=[
                clipped._replace(candidate=clipped.candidate._replace(role=role))
                for role in (advice.ORIGINAL, CLIPPED, PLAIN)
            ]
        )
    )


def test_held_out_problems_differ_from_known_ones():
    assert {one.task for one in KNOWN}.isdisjoint({one.task for one in HELD_OUT if "data=table" not in one.task})
    assert {one.name for one in KNOWN}.isdisjoint({one.name for one in HELD_OUT})
    named = {one.name for one in [*KNOWN, *HELD_OUT] if "data=table" in one.task}
    assert named == {*TABLES}


def test_results_are_cached(tmp_path, monkeypatch):
    path = tmp_path / "trials.json"
    (first,) = Laboratory(range(2), path).train([TINY.overrides])
    monkeypatch.setattr("tests.benchmarks.advice_trials.train_settings", None)
    assert Laboratory(range(2), path).train([TINY.overrides]) == [first]
    assert len(first.test) == 2
    assert first.split == "test"  # the tutorial has test rows


@pytest.mark.command
def test_the_benchmark_prints_its_table_for_a_tiny_problem(capsys, monkeypatch, tmp_path):
    calm = TINY._replace(task=(*TINY.task, "data.scale_target=standard"), can_scale_target=False)  # needs no probe
    monkeypatch.setattr(advice_problems, "KNOWN", [calm])
    monkeypatch.setattr(advice_regret, "FACTORS", [0.01])
    assert advice.main(["2", "--folder", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "| tiny * | `clip=none` " in printed
    assert "Regret: median " in printed


def test_an_unknown_problem_is_refused(capsys, tmp_path):
    with pytest.raises(SystemExit, match="2"):
        advice.main(["2", "unknown", "--folder", str(tmp_path)])
    assert "problem: got unknown; no problem name starts with it" in capsys.readouterr().err
