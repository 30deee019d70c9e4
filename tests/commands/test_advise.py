"""``advise`` suggests settings for real runs and logs, probes explosions and confirms its advice."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gradclip import keys
from tests.conftest import Command, SearchRuns, assert_one_error_line, folders

if TYPE_CHECKING:
    from mlflow import MlflowClient

SHORT = ("figures=false", "log_model=false", "trainer.max_epochs=3")


@pytest.fixture(scope="module")
def clipped(train: Command) -> str:
    """Return the id of a run whose steps are all clipped."""
    done = train("clip=norm", "clip.value=1.0", "tracking.experiment=advised", *SHORT)
    found = re.search(r"Run: .*\((\w+)\)", done.stdout)
    assert found is not None, done.stderr
    return found[1]


def test_a_clipped_run_gets_thresholds_and_control_arms(advise: Command, clipped: str) -> None:
    done = advise(f"run={clipped}", "seeds=3", "probe=false")
    assert done.returncode == 0, done.stderr
    assert "clip=norm at 1.0 changed 100% of the steps, so it acts like a smaller learning rate" in done.stdout
    assert "Is it the clipping, or only a smaller step?" in done.stdout
    lines = [line.strip() for line in done.stdout.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("python src/train.py")]
    assert len(commands) >= 5
    assert all(command[-1] == "seed=0,1,2" and "trainer.max_epochs=3" in command for command in commands)
    assert any("schedule=warmup_cosine" in command for command in commands)
    by_experiment = advise("experiment=advised", "seeds=3", "probe=false")
    assert by_experiment.stdout == done.stdout


def test_an_exploded_run_is_probed_and_the_advice_is_confirmed(
    train: Command, advise: Command, runs: SearchRuns
) -> None:
    exploded = train("clip=none", "seed=40", "data.samples=200", "trainer.max_epochs=8", *SHORT[:2])
    assert "diverged" in exploded.stdout
    done = advise("confirm=true", "seeds=6", timeout=900)  # with fewer seeds, no difference can be significant
    assert done.returncode == 0, done.stderr
    assert re.match(r"Try .*:\n    python src/train\.py .*\n  Why: MSE .* on the test rows", done.stdout)
    assert "A probe tried " in done.stdout
    assert "original: python src/train.py -m data.samples=200" in done.stdout
    assert re.search(r"Advised vs\. original, median [\d.]+ vs\. diverged: the advice helps\.", done.stdout)
    *_, sentence, command = done.stdout.splitlines()
    assert re.fullmatch(r"Use .*: median [\d.]+ on test rows, while the original settings diverged.*\.", sentence)
    assert command.startswith("    python src/train.py ")
    trained = runs("tags.seed = '1003' and params.data.samples = '200'")
    assert {run.data.tags[keys.OUTCOME] for run in trained} >= {"diverged", "learned"}
    assert len(trained) >= 5
    again = advise("probe=false")  # the last run is never a probe run or an arm
    assert "Outcome of none samples=200 max_epochs=8 seed=40: diverged." in again.stdout
    assert "not enough to choose a threshold" in again.stdout


def test_advice_on_a_log_needs_no_store(advise: Command, tmp_path: Path) -> None:
    path = tmp_path / "norms (1).csv"
    path.write_text("step,grad_norm\n" + "".join(f"{step},{1 + step % 7}\n" for step in range(100)))
    given = (f"log={path}", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", "optimizer_name=sgd", "max_norm=0.5")
    done = advise(*given)
    assert done.returncode == 3, done.stderr
    assert "! Clipping at 0.5 changed 100% of the steps" in done.stdout
    assert "torch.nn.utils.clip_grad_norm_(model.parameters(), 2)" in done.stdout
    as_json = advise(*given, "output=json", "code=lightning")
    assert (as_json.returncode, as_json.stderr) == (3, "")
    assert json.loads(as_json.stdout)["is_healthy"] is False
    assert advise(f"log={path}").returncode == 0
    assert [*tmp_path.iterdir()] == [path]


def test_advise_reads_a_metric_of_any_run_in_the_store(advise: Command, clipped: str, client: MlflowClient) -> None:
    run = client.create_run("0")
    for step in range(60):
        client.log_metric(run.info.run_id, "train/gnorm", 1.0 + step % 5, step=step)
    client.log_metric(run.info.run_id, "lr", 0.1, step=0)
    done = advise(f"run={run.info.run_id}", "metric=train/gnorm", "output=json")
    assert done.returncode == 0, done.stderr
    facts = {finding["kind"]: finding["numbers"] for finding in json.loads(done.stdout)["findings"]}
    assert facts["norms"]["median"] == 3
    assert_one_error_line(advise(f"run={clipped}", "metric=grad/nrm"), "metric: got 'grad/nrm'; run")
    stored = advise(f"run={clipped}", "output=json", "probe=false")
    assert stored.returncode == 0, stored.stderr
    assert "mostly clipped" in [finding["kind"] for finding in json.loads(stored.stdout)["findings"]]


BAD = [
    (["log=gone.csv"], "log: got 'gone.csv'; there is no such file"),
    (["log=x.csv", "run=abc"], "log: got 'x.csv'; it cannot be combined with run= or metric="),
    (["metric=grad/norm"], "metric: got 'grad/norm'; needs the id of its run, run=..."),
    (["log=x.csv", "confirm=true"], "confirm: got True; only a run of src/train.py can be trained again"),
    (["log=x.csv", "max_norm=0"], "max_norm: got 0; must be greater than 0"),
    (["max_norm=1"], "max_norm: got 1.0; needs log=... or metric=..."),
    (["output=xml"], "output: got 'xml'; must be 'text' or 'json'"),
    (["run=abc"], "run: got 'abc'; there is no such run in sqlite"),
    (["run=a b"], "run: got 'a b'; there is no such run in sqlite"),
    (["experiment=nowhere"], "tracking.experiment: got 'nowhere'; there is no such experiment in sqlite"),
    (["seeds=1"], "seeds: got 1; must be greater than or equal to 2 or 'auto'"),
    (["seeds=auto"], "seeds: got 'auto'; needs confirm=true"),
    (["rum=abc"], "rum: no such setting or group (did you mean 'run'?)"),
]


@pytest.mark.usefixtures("clipped")
@pytest.mark.parametrize(("overrides", "message"), BAD, ids=[" ".join(overrides) for overrides, _ in BAD])
def test_a_mistake_is_reported_in_one_line(
    advise: Command, store_folder: Path, overrides: list[str], message: str
) -> None:
    before = folders(store_folder)
    assert_one_error_line(advise(*overrides), message)
    assert folders(store_folder) == before
