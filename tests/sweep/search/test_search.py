"""A search finds the known solution of a problem, and gives more seeds to its best trials."""

import math

import pytest

from gradclip.config.composition import compose_config
from gradclip.errors import ConfigError
from gradclip.sweep.results import JobResult
from gradclip.sweep.search.report import Report, best_lines, search_table
from gradclip.sweep.search.run import check_score, search
from gradclip.sweep.search.search_settings import read_settings
from gradclip.sweep.search.trial import best_trial, caveat_of, in_order, metric_of
from tests.sweep.search.test_space import read

DEFAULTS = {
    "trials": 30, "batch": 10, "first_seeds": 1, "reduction_factor": 3,
    "score": "auto", "over_seeds": "median", "sampler_seed": 0,
}  # fmt: skip


class Problem:
    """A launcher that scores jobs without training, and keeps a list of them."""

    def __init__(self, score, name="mse", error=lambda _x: "", higher_is_better=False, on_validation=None):
        self.score, self.name, self.error, self.higher_is_better = score, name, error, higher_is_better
        self.on_validation = on_validation
        self.launches = []
        self.stopped = False

    def __call__(self, jobs):
        self.launches.append(jobs)
        return [self._run(dict(setting.split("=") for setting in job)) for job in jobs]

    def _run(self, job):
        x, seed = float(job["x"]), int(job["seed"])
        if self.error(x):
            return JobResult(0, "x", error=self.error(x))
        scores = {"train": math.nan} | ({"test": self.score(x, seed)} if self.score else {})
        scores |= {"validation": self.on_validation(x)} if self.on_validation else {}
        direction = {"higher_is_better": self.higher_is_better}
        return JobResult(0, "x", score=self.name, scores=scores, **direction)


def find(problem, *typed, **settings):
    return search(read(*typed), read_settings(DEFAULTS | settings), problem)


def test_a_minimum_is_found_and_the_search_is_reproducible():
    problem = Problem(lambda x, seed: (math.log10(x) - 1) ** 2 + 0.01 * seed)
    trials = find(problem, "x=tag(log,interval(0.001,1000))", "seed=range(3)")
    assert float(best_trial(trials).values["x"]) == pytest.approx(10, rel=0.5)
    assert [trial.values for trial in trials] == [
        trial.values for trial in find(problem, "x=tag(log,interval(0.001,1000))", "seed=range(3)")
    ]


def test_accuracy_is_maximized():
    trials = find(Problem(lambda x, _seed: 0.9 - (x - 0.3) ** 2, "accuracy"), "x=interval(0,1)")
    best = best_trial(trials)
    assert float(best.values["x"]) == pytest.approx(0.3, abs=0.1)
    assert best.average == max(trial.average for trial in trials) <= 0.9
    assert metric_of(trials) == "final/accuracy_test"


@pytest.mark.parametrize("higher_is_better", [False, True])
def test_a_metric_that_a_module_logs_is_optimized_in_its_direction(higher_is_better):
    sign = -1 if higher_is_better else 1
    problem = Problem(lambda x, _seed: sign * (x - 0.3) ** 2 - 5, "val_score", higher_is_better=higher_is_better)
    trials = find(problem, "x=interval(0,1)")
    best = best_trial(trials)
    assert float(best.values["x"]) == pytest.approx(0.3, abs=0.1)
    assert best.average == sorted(trial.average for trial in trials)[-1 if higher_is_better else 0]
    assert metric_of(trials) == "final/val_score"


def test_halving_gives_more_seeds_to_the_best_third_of_each_round():
    problem = Problem(lambda x, seed: x + seed)
    trials = find(problem, "x=range(9)", "seed=range(9)", trials=9, batch=9)
    assert [len(jobs) for jobs in problem.launches] == [9, 3 * 2, 6]
    assert sorted(len(trial.jobs) for trial in trials) == [1] * 6 + [3] * 2 + [9]
    assert [trial.state for trial in in_order(trials)] == ["finished"] + ["dropped"] * 8
    assert best_trial(trials).values["x"] == min((trial.values["x"] for trial in trials), key=int)


def test_without_halving_every_trial_runs_all_seeds():
    problem = Problem(lambda x, _seed: x)
    trials = find(problem, "x=interval(0,1)", "seed=range(4)", trials=5, batch=5, reduction_factor=1)
    assert [len(jobs) for jobs in problem.launches] == [20]
    assert {trial.state for trial in trials} == {"finished"}


def test_the_search_avoids_settings_that_diverge():
    problem = Problem(lambda x, _seed: math.nan if x > 1 else 1.0)  # all other values are equally good
    trials = find(problem, "x=tag(log,interval(0.001,1000))", trials=60)
    diverged = [trial.state == "diverged" for trial in trials]
    assert sum(diverged[:10]) >= 3  # random trials; half the space diverges
    assert sum(diverged[10:]) <= 20  # among 50; 38 if diverged trials are reported to Optuna as failed


def test_a_diverged_seed_counts_as_the_worst_seed():
    scores = {0: 1.0, 1: 5.0, 2: math.nan}
    problem = Problem(lambda _x, seed: scores[seed])
    settings = {"trials": 1, "batch": 1, "reduction_factor": 1}
    (middle,) = find(problem, "x=1,2", "seed=range(3)", **settings)
    assert (middle.average, middle.state, middle.range) == (5.0, "finished", (1.0, 5.0))
    for over_seeds in ("mean", "worst"):
        (trial,) = find(problem, "x=1,2", "seed=range(3)", over_seeds=over_seeds, **settings)
        assert trial.state == "diverged"
        assert math.isnan(trial.average)


def test_failed_jobs_do_not_end_the_search():
    problem = Problem(lambda x, _seed: x, error=lambda x: "it broke" if x < 0.5 else "")
    trials = find(problem, "x=interval(0,1)", "seed=0,1", trials=20)
    assert {trial.state for trial in trials if float(trial.values["x"]) < 0.5} == {"failed"}
    assert float(best_trial(trials).values["x"]) >= 0.5


def test_a_stopped_search_starts_no_further_batch():
    problem = Problem(lambda x, _seed: x)
    problem.stopped = True
    assert find(problem, "x=interval(0,1)", trials=30) == []


def test_no_trial_is_best_if_all_trials_diverge():
    trials = find(Problem(lambda _x, _seed: math.nan), "x=interval(0,1)", trials=3)
    assert {trial.state for trial in trials} == {"diverged"}
    assert best_trial(trials) is None


def report_on(trials) -> Report:
    return Report(trials, (), ("0",), ())


def test_validation_rows_choose_the_best_trial_and_its_test_score_is_reported():
    problem = Problem(lambda x, _seed: 10 - x, on_validation=lambda x: 1 + abs(x - 2))
    trials = find(problem, "x=0,1,2,3,4", trials=8, batch=8)
    best = best_trial(trials)
    assert (best.values["x"], best.scores) == ("2", {"final/mse_validation": 1.0, "final/mse_test": 8.0})
    line, *others = best_lines(report_on(trials))
    assert line == "Best: x=2; final/mse_validation 1.00 (one seed), 8.00 on the test rows"
    assert others[0] == "Repeat it:"
    table = search_table(trials, max_rows=1)
    assert table.columns == ("trial", "x", "seeds", "final/mse_validation, median", "median on test", "outcome")
    assert table.rows[0][3:5] == ("1.00", "8.00")


@pytest.mark.parametrize(
    ("on_validation", "score", "name", "reason"),
    [
        (None, "auto", "mse", "this data set has no validation rows"),
        (lambda x: x, "test", "mse", "hydra.sweeper.score=test selects them"),
        (None, "auto", "val_loss", "this data set has no validation rows"),
        (None, "train", "mse", None),
    ],
)
def test_a_choice_on_test_rows_is_reported_with_its_reason(on_validation, score, name, reason):
    problem = Problem(lambda x, _seed: x, name, on_validation=on_validation)
    trials = find(problem, "x=1,2", trials=2, score=score)
    caveat = f"Chosen on the test rows: {reason}, so the best looks better than it is."
    assert caveat_of(trials) == ([caveat] if reason else [])
    assert (caveat in best_lines(report_on(trials))) is bool(reason)
    assert caveat not in best_lines(report_on(trials[:1])), "a single trial is not a choice"
    assert len(search_table(trials).columns) == (8 if score == "train" else 7)


def test_a_search_without_test_rows_reports_no_test_score():
    trials = find(Problem(None, on_validation=lambda x: x), "x=1,2", trials=2)
    assert trials[0].scores == {"final/mse_validation": float(trials[0].values["x"])}
    assert "median on test" not in search_table(trials).columns
    assert not any("test" in line for line in best_lines(report_on(trials)))


OWN = "tests.support.own.Old"


@pytest.mark.parametrize(("group", "name"), [("data", "Batches"), ("module", "Training")])
def test_a_search_on_test_rows_needs_a_test_score(group, name):
    config = compose_config([f"{group}._target_={OWN}{name}"])
    message = f"hydra.sweeper.score: got 'test'; {OWN}{name} has no test score; must be auto or train"
    with pytest.raises(ConfigError, match=f"^{message}$"):
        check_score("test", config)
    check_score("auto", config)
    check_score("test", compose_config([f"data._target_={OWN}ThreeSplits"]))


def test_a_search_on_training_rows_reports_the_test_score():
    problem = Problem(lambda x, _seed: x)
    (trial,) = find(problem, "x=1,2", trials=1, score="train")
    assert metric_of([trial]) == "final/mse_train"
    assert [*trial.scores] == ["final/mse_train", "final/mse_test"]
