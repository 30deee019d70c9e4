"""Advice by the real command, from real runs."""

import re
import shlex
from pathlib import Path

import pytest

from gradclip import keys
from tests.conftest import Command, SearchRuns, assert_told_in_one_line, folders

SHORT = ("figures=false", "log_model=false", "trainer.max_epochs=3")


@pytest.fixture(scope="module")
def clipped(train: Command) -> str:
    """The id of a run whose steps are all clipped."""
    done = train("clip=norm", "clip.value=1.0", "tracking.experiment=advised", *SHORT, timeout=600)
    found = re.search(r"Run: .*\((\w+)\)", done.stdout)
    assert found is not None, done.stderr
    return found[1]


def test_a_clipped_run_is_told_its_rate_thresholds_and_control_arms(advise: Command, clipped: str) -> None:
    done = advise(f"run={clipped}", "seeds=3")
    assert done.returncode == 0, done.stderr
    assert "clip=norm changed 100% of the steps, so it acts like a smaller learning rate" in done.stdout
    assert "Is it the clipping, or only a smaller step?" in done.stdout
    lines = [line.strip() for line in done.stdout.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("python src/train.py")]
    assert len(commands) >= 5
    assert all(command[-1] == "seed=0,1,2" and "trainer.max_epochs=3" in command for command in commands)
    assert any("schedule=warmup_cosine" in command for command in commands)
    by_experiment = advise("experiment=advised", "seeds=3")
    assert by_experiment.stdout == done.stdout


def test_a_run_that_exploded_is_probed_and_the_advice_confirmed(
    train: Command, advise: Command, runs: SearchRuns
) -> None:
    exploded = train("clip=none", "seed=40", "data.samples=200", "trainer.max_epochs=8", *SHORT[:2], timeout=600)
    assert "diverged" in exploded.stdout
    done = advise("probe=true", "confirm=true", "seeds=4", timeout=900)
    assert done.returncode == 0, done.stderr
    assert "The norms were measured in a probe run of 20 steps" in done.stdout
    assert "original: python src/train.py -m data.samples=200" in done.stdout
    verdict = r"The advice helped: median [\d.]+ advised, diverged original; probability of improvement 1\.00"
    assert re.search(verdict, done.stdout)
    assert "Advised vs. advised, but unclipped at a smaller learning rate: median " in done.stdout
    trained = runs("tags.seed = '1003' and params.data.samples = '200'")
    assert sorted(run.data.tags[keys.OUTCOME] for run in trained)[:2] == ["diverged", "learned"]
    assert len(trained) == 3


BAD = [
    (["run=abc"], "run: got 'abc'; there is no such run in sqlite"),
    (["experiment=nowhere"], "tracking.experiment: got 'nowhere'; there is none of that name in sqlite"),
    (["seeds=1"], "seeds: got 1; must be greater than or equal to 2"),
    (["rum=abc"], "rum: no such setting or group (did you mean 'run'?)"),
]


@pytest.mark.usefixtures("clipped")
@pytest.mark.parametrize(("overrides", "message"), BAD, ids=[" ".join(overrides) for overrides, _ in BAD])
def test_a_mistake_is_told_in_one_line(advise: Command, store_folder: Path, overrides: list[str], message: str) -> None:
    before = folders(store_folder)
    assert_told_in_one_line(advise(*overrides), message)
    assert folders(store_folder) == before
