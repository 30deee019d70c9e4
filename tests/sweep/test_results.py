"""A result that cannot be written, or is damaged, is named in one line."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from gradclip import keys
from gradclip.config.composition import compose_config
from gradclip.errors import TrackingError
from gradclip.sweep.results import RESULT_FILE, JobResult, read_results
from gradclip.tracking.stored_runs import StoredRun
from gradclip.training.job import Job


def test_a_result_that_cannot_be_written_prints_one_line_and_counts_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    JobResult(0, "norm=1.0 seed=0", outcome="learned").write(tmp_path / "0")

    def write_text(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", write_text)
    JobResult(1, "norm=1.0 seed=1", outcome="learned").write(tmp_path / "1")
    line = f"error: {tmp_path}/1/{RESULT_FILE}: cannot be written: No space left on device\n"
    assert capsys.readouterr().err == line
    first, second = read_results(tmp_path)
    assert (first.name, first.outcome) == ("norm=1.0 seed=0", "learned")
    assert (second.number, second.outcome, second.error) == (1, "failed", "it left no result")
    assert [path.name for path in (tmp_path / "1").iterdir()] == []


def test_an_empty_result_file_is_named(tmp_path: Path) -> None:
    JobResult(0, "norm=1.0 seed=0").write(tmp_path / "0")
    (tmp_path / "0" / RESULT_FILE).write_text("")
    with pytest.raises(
        TrackingError, match=rf"0/{RESULT_FILE}: is damaged, cannot be read or is of another version \(it is empty\)"
    ):
        read_results(tmp_path)


def test_a_result_file_of_another_version_is_named(tmp_path: Path) -> None:
    JobResult(0, "norm=1.0 seed=0").write(tmp_path / "0")
    path = tmp_path / "0" / RESULT_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"score_test": 1.0}))
    message = (
        rf"0/{RESULT_FILE}: is damaged, .* of another version \(score_test: Unexpected keyword argument\); train again"
    )
    with pytest.raises(TrackingError, match=message):
        read_results(tmp_path)


def test_a_run_finished_earlier_has_the_scores_of_its_stored_metrics() -> None:
    metrics = {"final/mse_train": 1.0, "final/mse_validation": 2.0, "final/mse_test": 3.0}
    run = StoredRun("1", "norm", None, "FINISHED", 1.0, {}, metrics, {keys.OUTCOME: "learned"})
    job = Job(compose_config(["clip=norm"]), ("clip=norm",), Path())
    done = JobResult.of_finished(job, run)
    assert done.name == "norm=1.0 seed=0"  # as new runs are named, so that they are counted together
    assert (done.scores, done.choosing_split) == ({"train": 1.0, "validation": 2.0, "test": 3.0}, "validation")
    logged = {"final/loss/train": 1.0, "final/val_loss": 2.0}
    own = replace(run, metrics=logged, tags=run.tags | {keys.SCORE: "val_loss", keys.SCORE_MODE: "min"})
    assert JobResult.of_finished(job, own).scores == {"train": 1.0, "validation": 2.0}
    on_test = replace(own, tags=own.tags | {keys.SCORE_SPLIT: "test"})
    assert JobResult.of_finished(job, on_test).scores == {"train": 1.0, "test": 2.0}
