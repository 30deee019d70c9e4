"""The page of a multirun in MLflow names its best settings, with all names escaped."""

import html
from math import isfinite
from pathlib import Path

import pytest

from gradclip import keys
from gradclip.advise.choose_run import runs_to_advise_on
from gradclip.compare.comparison import compare
from gradclip.formatting import CODE, chosen_on_test
from gradclip.scores import MSE, Split
from gradclip.sweep.page import MAX_LENGTH, Answer, answer_of_comparison, answer_of_jobs, page_of
from gradclip.sweep.results import JobResult
from gradclip.sweep.tables import run_table
from gradclip.tracking.records import Parent
from tests.support.comparisons import by_threshold, compared, validated
from tests.support.stores import make_store, write_run

DIFFERENT = "No run is best: the runs have different scores, or were scored on different rows."
HOSTILE = "<img src=x onerror=alert(1)> [a](http://b) | `*\n\x1b[2J"


def job(number: int, error: float, name: str = "norm=1.0") -> JobResult:
    outcome = "learned" if isfinite(error) else "diverged"
    return JobResult(number, name, f"{number:032x}", outcome, "mse", {"train": error, "test": error})


def test_the_page_of_a_single_job_escapes_markup_in_its_name() -> None:
    jobs = [job(0, 2.0, HOSTILE)]
    page = page_of(answer_of_jobs(jobs, run_table(jobs)), jobs, "", None)
    description = page.tags[keys.DESCRIPTION]
    assert "<img" not in description
    assert "[a]" not in description
    assert "alert(1)" in html.unescape(description)
    assert page.tags[keys.OUTCOME] == "1 learned"


def test_a_command_can_be_copied_from_the_description() -> None:
    command = f"{CODE}python src/train.py clip=parameter_norm 'seed=range(10)'"
    answer = Answer(["Best: norm_value.", "Repeat it:", command], run_table([]))
    lines = page_of(answer, [], "", None).tags[keys.DESCRIPTION].split("\n\n")
    assert lines[0] == "**Best: norm&#95;value.**"
    assert [line.strip("\n") for line in lines[-2:]] == ["Repeat it:", command]


def test_the_description_fits_in_a_tag() -> None:
    jobs = [job(number, 2.0, "x" * 700) for number in range(30)]
    page = page_of(answer_of_jobs(jobs, run_table(jobs)), jobs, "", None)
    assert 3000 < len(page.tags[keys.DESCRIPTION]) <= MAX_LENGTH


@pytest.mark.parametrize(
    ("scores", "best", "sentences"),
    [
        ([{"validation": 3.0, "test": 1.0}, {"validation": 2.0, "test": 5.0}], "b", ["Best run: b."]),
        ([{"test": 1.0}, {"test": 5.0}], "a", ["Best run: a.", chosen_on_test()]),
        ([{"test": 1.0}], "a", ["Best run: a."]),
        ([{"validation": 3.0}, {"validation": 2.0}], "b", ["Best run: b."]),
        ([{"test": 1.0}, {"validation": 2.0, "test": 5.0}], "", [DIFFERENT]),
        ([], "", ["No run has a score."]),
    ],
)
def test_validation_rows_choose_the_best_job_if_all_jobs_have_them(
    scores: list[dict[Split, float]], best: str, sentences: list[str]
) -> None:
    jobs = [JobResult(number, "ab"[number], None, "learned", "mse", one) for number, one in enumerate(scores)]
    answer = answer_of_jobs(jobs, run_table(jobs))
    assert (answer.best, answer.sentences) == (best, sentences)
    if best == "b":
        test = {"final/mse_test": 5.0} if "test" in scores[0] else {}
        assert [*answer.scores.items()] == [("final/mse_validation", 2.0), *test.items()]


def test_the_page_of_a_comparison_has_the_validation_score_and_the_test_score(tmp_path: Path) -> None:
    found = compared(validated(by_threshold({"1.0": [8.0, 8.0], "5.0": [3.0, 3.0]}), [1.0, 1.0, 4.0, 4.0]))
    page = page_of(answer_of_comparison(found, tmp_path), [], "", found.best.group.runs[0])
    assert page.tags[keys.BEST] == "norm=1.0"
    assert page.metrics == {MSE.final("validation"): 1.0, MSE.final("test"): 8.0}


def test_the_page_names_the_best_settings_and_advice_is_given_on_the_diverged_run(tmp_path: Path) -> None:
    store, parent = make_store(tmp_path), Parent(str(tmp_path), "many", {keys.CREATION: "0" * 32})
    on_validation = {"1.0": (5.0, 4.0, 3.0), "10.0": (9.0, float("nan"), 8.0)}
    for threshold, errors in {"1.0": (3.0, 4.0, 5.0), "10.0": (9.0, float("nan"), 8.0)}.items():
        for seed, (error, chosen_by) in enumerate(zip(errors, on_validation[threshold], strict=True)):
            write_run(store, error, seed, {"clip.value": threshold}, parent=parent, on_validation=[chosen_by])
    found = compare(store, None, tmp_path / "comparison")
    answer = answer_of_comparison(found, tmp_path)
    page = page_of(answer, [job(0, 4.0), job(1, float("nan"))], "f" * 32, found.best.group.runs[0])
    assert page.tags[keys.BEST] == "norm=1.0"
    assert page.metrics == {MSE.final("validation"): 4.0, MSE.final("test"): 4.0}
    assert page.tags[keys.DESCRIPTION].startswith("**Best median: norm=1.0, 4.00 (4.00 on the test rows);")
    assert "(get-artifact?path=comparison/figures/" in page.tags[keys.DESCRIPTION]
    runs = found.selection.runs
    (first, second, *_), messages = runs_to_advise_on(runs[::-1], store)
    assert (first.name, second.name) == ("norm=10.0 seed=1", "norm=1.0 seed=2")  # best on validation rows
    assert messages == ["Multirun many: 1 diverged, 5 learned. Advice on run norm=10.0 seed=1:"]
