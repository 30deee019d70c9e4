"""A job of a multirun reports its progress, and hints at stacking."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from gradclip.config.composition import compose_config
from gradclip.sweep import multirun_job
from gradclip.sweep.multirun_job import print_hint, progress
from gradclip.sweep.results import JobResult
from gradclip.sweep.stopping import ask_to_stop


def multirun(folder: Path, *typed: str, sweeper: str = "hydra.BasicSweeper") -> Path:
    OmegaConf.save(
        OmegaConf.create({"hydra": {"sweeper": {"_target_": sweeper}, "overrides": {"task": list(typed)}}}),
        folder / "multirun.yaml",
    )
    return folder


def test_progress_counts_finished_jobs_and_estimates_the_remaining_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = multirun(tmp_path, "clip.value=1,2", "seed=0,1")
    os.utime(folder / "multirun.yaml", (1000, 1000))
    monkeypatch.setattr(multirun_job, "time", SimpleNamespace(time=lambda: 1030.0))
    seen = []
    for number in range(4):
        JobResult(number, "", outcome="learned").write(folder / str(number))
        seen.append(progress(folder))
    assert seen == [
        " (1 of 4, about 90 s left)",
        " (2 of 4, about 30 s left)",
        " (3 of 4, about 10 s left)",
        " (4 of 4)",
    ]


def test_no_remaining_time_is_estimated_if_the_clock_was_set_back(tmp_path: Path) -> None:
    folder = multirun(tmp_path, "clip.value=1,2", "seed=0,1")
    os.utime(folder / "multirun.yaml", (2**32, 2**32))
    JobResult(0, "", outcome="learned").write(folder / "0")
    assert progress(folder) == " (1 of 4)"


def test_a_stopped_multirun_has_no_progress(tmp_path: Path) -> None:
    folder = multirun(tmp_path, "seed=0,1")
    ask_to_stop(folder, signal.SIGTERM)
    JobResult(0, "", outcome="stopped").write(folder / "0")
    assert progress(folder) == ""


def test_progress_of_a_search_has_no_total(tmp_path: Path) -> None:
    folder = multirun(tmp_path, sweeper="hydra_plugins.search_sweeper.SearchSweeper")
    JobResult(0, "", outcome="learned").write(folder / "0")
    assert progress(folder) == " (1 done)"


@pytest.mark.parametrize(
    ("seeds", "settings", "hinted"),
    [("range(6)", [], True), ("range(5)", [], False), ("range(6)", ["clip=activation"], False)],
)
def test_a_multirun_of_many_stackable_jobs_gets_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seeds: str, settings: list[str], hinted: bool
) -> None:
    print_hint(compose_config(settings), multirun(tmp_path, f"seed={seeds}"))
    assert ("hydra/launcher=vectorized" in capsys.readouterr().out) is hinted
