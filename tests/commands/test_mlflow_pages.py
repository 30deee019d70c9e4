"""Real runs in the MLflow UI, seen in a real browser, and the search strings of docs/mlflow.md."""

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from gradclip import keys
from gradclip.scores import MSE
from gradclip.tracking.records import model_name
from gradclip.tracking.views import NAME_COLUMN, view_address
from tests.conftest import ROOT, Command
from tests.support.browser import CHROMIUM, DRIVER, Browser, open_browser
from tests.support.mlflow_server import serve

TEST_ERROR = f"metrics.`{MSE.final('test')}`"
OUTCOME_COLUMN, CLIP_COLUMN = f"tags.`{keys.OUTCOME}`", f"tags.`{keys.CLIP}`"
SEARCH_ROW = r"^\| ([^|`]+) \| `([^`]+ (?:[=<>]|LIKE) [^`]+)` \|$"
SEARCHES = dict(re.findall(SEARCH_ROW, (ROOT / "docs/mlflow.md").read_text(), re.MULTILINE))
EXPERIMENT = "pages"
MULTIRUN = "clip=norm,value clip.value=5 seed=0,1 trainer.max_epochs=20"
DIVERGED, LEARNED = "none max_epochs=3 seed=0", "norm=5.0 max_epochs=20 seed=0"
ANSWERS: dict[str, Callable[[Run], bool]] = {
    "runs that diverged": lambda run: math.isnan(run.data.metrics.get(MSE.final("test"), 0)),
    "in the first epoch": lambda run: run.info.run_name.startswith("none "),
    "runs with a test error under 100": lambda run: run.data.metrics.get(MSE.final("test"), math.inf) < 100,
    "runs of one method": lambda run: run.info.run_name.startswith("norm="),
    "at one threshold": lambda run: run.info.run_name.startswith("norm=5.0 "),
    "runs of one seed": lambda run: run.info.run_name.endswith(" seed=0"),
    "most steps clipped": lambda run: run.info.run_name.startswith(("norm=", "value=")),
    "multiruns": lambda run: "," in run.info.run_name,
    "runs of one multirun": lambda run: keys.PARENT_RUN in run.data.tags,
}


@pytest.fixture(scope="module")
def experiment_id(train: Command, client: MlflowClient) -> str:
    """Train a run that diverges and a multirun of four; return the id of their experiment."""
    multirun = ("-m", "clip=norm,value", "clip.value=5", "seed=0,1", "trainer.max_epochs=20")
    for overrides in (("clip=none", "trainer.max_epochs=3"), multirun):
        done = train(*overrides, f"tracking.experiment={EXPERIMENT}")
        assert done.returncode == 0, done.stderr
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    return str(experiment.experiment_id)


@pytest.fixture(scope="module")
def by_name(client: MlflowClient, experiment_id: str) -> dict[str, Run]:
    return {run.info.run_name: run for run in client.search_runs([experiment_id])}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs chromium and chromedriver; Debian: apt-get install chromium chromium-driver")
    with open_browser() as started:
        yield started


@pytest.fixture(scope="module")
def server(store_folder: Path) -> Iterator[str]:
    with serve(store_folder) as address:
        yield address


@pytest.fixture(scope="module")
def view(server: str, experiment_id: str) -> str:
    return view_address(server, experiment_id)


def run_page(view: str, run: Run, tab: str = "") -> str:
    page, _, _ = view.partition("?")
    return f"{page}/{run.info.run_id}{tab}?workflowType=machine_learning"


def test_the_page_has_a_search_string_for_every_question() -> None:
    assert SEARCHES.keys() == ANSWERS.keys()


@pytest.mark.parametrize("question", ANSWERS)
def test_a_search_string_finds_exactly_the_right_runs(
    question: str, client: MlflowClient, experiment_id: str, by_name: dict[str, Run]
) -> None:
    parent = next(run.data.tags[keys.PARENT_RUN] for run in by_name.values() if keys.PARENT_RUN in run.data.tags)
    search = SEARCHES[question].replace("RUN_ID", parent)
    found = {run.info.run_name for run in client.search_runs([experiment_id], search)}
    assert found == {name for name, run in by_name.items() if ANSWERS[question](run)}
    assert 0 < len(found) < len(by_name)


def test_curves_end_at_finite_points(by_name: dict[str, Run], client: MlflowClient) -> None:
    per_step = (keys.LOSS_STEP, keys.GRAD_NORM, keys.GRAD_NORM_CLIPPED, keys.GRAD_NORM_PEAK)
    for run in by_name.values():
        for key in (*per_step, MSE.by_epoch("train"), MSE.by_epoch("test")):
            points = client.get_metric_history(run.info.run_id, key)
            assert all(0 < point.value < 1e300 for point in points), (run.info.run_name, key)


def test_the_experiment_lists_runs_best_first_with_outcome_and_clipping(
    browser: Browser, view: str, by_name: dict[str, Run]
) -> None:
    browser.open(view)
    rows = browser.wait(lambda: len(browser.rows()) == len(by_name) and browser.rows())
    browser.wait_for(f"GenAI Model training {EXPERIMENT} Runs Models")  # not the pages for language models
    assert {row[NAME_COLUMN].split("\n")[-1] for row in rows} == set(by_name)
    multirun, *trained = rows
    assert (multirun["tags.`best`"], multirun[OUTCOME_COLUMN]) == ("norm=5.0", "4 learned")
    assert {row["tags.`data`"] for row in rows} == {"regression"}
    for row in trained:
        run = by_name[row[NAME_COLUMN].split("\n")[-1]]
        assert row[OUTCOME_COLUMN] == run.data.tags[keys.OUTCOME]
        assert row[CLIP_COLUMN] == run.data.tags[keys.CLIP]
    assert [row[OUTCOME_COLUMN] for row in trained] == ["learned"] * 4 + ["diverged"]
    errors = [float(row[TEST_ERROR]) for row in trained]
    assert errors[:-1] == sorted(errors[:-1])
    assert math.isnan(errors[-1])


def test_the_page_of_a_multirun_shows_the_best_setting_and_the_figure(browser: Browser, view: str) -> None:
    browser.open(view)
    browser.click(MULTIRUN)
    browser.wait_for("Best median: norm=5.0")
    browser.click("Show more")
    shown = "return [...document.images].some(image => image.src.includes('get-artifact') && image.naturalWidth > 500)"
    browser.wait(lambda: browser.run(shown))
    browser.wait_for("value=5.0")


def test_a_search_keeps_the_columns(browser: Browser, view: str) -> None:
    browser.open(view)
    browser.wait(browser.rows)
    browser.search(SEARCHES["runs that diverged"])
    (row,) = browser.wait(lambda: len(browser.rows()) == 1 and browser.rows())
    assert row[NAME_COLUMN].endswith(DIVERGED)
    assert (row[OUTCOME_COLUMN], row[CLIP_COLUMN]) == ("diverged", "none")


def test_charts_draw_the_curves_of_all_runs(browser: Browser, view: str, by_name: dict[str, Run]) -> None:
    metrics = (MSE.by_epoch("train"), MSE.by_epoch("test"), keys.GRAD_NORM, keys.GRAD_NORM_CLIPPED, keys.GRAD_NORM_PEAK)
    browser.open(f"{view}&compareRunsMode=CHART")
    drawn: dict[str, Any] = browser.wait(lambda: browser.curves().keys() >= set(metrics) and browser.curves())
    for metric in metrics:
        having = {name: run.data.metrics[metric] for name, run in by_name.items() if metric in run.data.metrics}
        assert {name: values[-1] for name, values in drawn[metric].items()} == pytest.approx(having)
        assert all(len(values) > 2 for values in drawn[metric].values())
    assert DIVERGED in drawn[keys.GRAD_NORM]
    assert DIVERGED not in drawn[MSE.by_epoch("test")]  # it diverged before the end of its first epoch


def test_the_runs_of_a_multirun_can_be_compared(browser: Browser, view: str, by_name: dict[str, Run]) -> None:
    children = {name: run for name, run in by_name.items() if keys.PARENT_RUN in run.data.tags}
    parent = next(iter(children.values())).data.tags[keys.PARENT_RUN]
    browser.open(view)
    browser.wait(browser.rows)
    browser.search(SEARCHES["runs of one multirun"].replace("RUN_ID", parent))
    browser.wait(lambda: len(browser.rows()) == len(children))
    browser.select_all()
    browser.click("Compare")
    browser.find("Comparing 4 Runs from 1 Experiment")
    browser.wait_for(*children, "Parallel Coordinates Plot")


def test_the_page_of_a_run_shows_model_data_sets_and_tags(browser: Browser, view: str, by_name: dict[str, Run]) -> None:
    browser.open(run_page(view, by_name[LEARNED]))
    browser.find("Logged models (1)")
    browser.find(model_name(LEARNED))
    browser.wait_for("regression (training)", "Parent run clip=norm,value clip.value=5 seed=0,1")
    browser.wait_for("clip : norm=5.0", "outcome : learned", "seed : 0")


def test_the_page_of_a_run_shows_figures_and_config(browser: Browser, view: str, by_name: dict[str, Run]) -> None:
    browser.open(run_page(view, by_name[DIVERGED], "/artifacts"))
    browser.click(keys.FIGURES_FOLDER)
    browser.click("gradient_norm.png")
    browser.wait(lambda: browser.run("return [...document.images].some(image => image.naturalWidth > 500)"))
    browser.click(keys.CONFIG_FILE)
    browser.wait(lambda: re.search(r"clip:\s+name: none", browser.text()))


def test_the_page_of_a_diverged_run_shows_where_it_diverged_and_what_to_try(
    browser: Browser, view: str, by_name: dict[str, Run]
) -> None:
    diverged = by_name[DIVERGED]
    browser.open(run_page(view, diverged))
    browser.find(keys.DIVERGED_IN)
    browser.wait_for("Diverged at step 9 (epoch 1), in the loss.", "What to try: -m clip=norm clip.value=0.36,")
    browser.wait_for("outcome : diverged", "diverged_step : 9", "diverged_epoch : 1", "diverged_in : loss")
    browser.open(run_page(view, diverged, "/artifacts"))
    browser.click("explosion")
    browser.click("report.txt")
    browser.wait_for("First non-finite value at step 9 (epoch 1), in the loss")
