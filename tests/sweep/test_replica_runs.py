"""An error while a stacked run is stored fails that run, not those stored before it."""

import errno
import os

from gradclip import keys
from gradclip.config.composition import compose_config
from gradclip.sweep import replica_runs
from gradclip.sweep.replica_runs import ReplicaRuns
from gradclip.sweep.results import read_results
from gradclip.sweep.stacked_jobs import train_stacked
from gradclip.tracking.records import Parent
from gradclip.training.job import Job

LIGHT = ("tracking.uri=null", "trainer.max_epochs=1", "figures=false", "log_model=false")


def jobs_in(folder):
    parent = Parent(str(folder), "multirun", {})
    return [
        Job(compose_config([f"seed={number}", *LIGHT]), (f"seed={number}",), folder / str(number), number, parent)
        for number in range(3)
    ]


def test_a_full_disk_fails_the_current_and_later_runs_but_not_earlier_runs(tmp_path, monkeypatch):
    def write(job, result):
        if job.number == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(job.folder))
        write_result(job, result)

    write_result = replica_runs.write_result
    monkeypatch.setattr(replica_runs, "write_result", write)
    stale = tmp_path / "0" / keys.HIDDEN_STATES_FILE  # of an earlier multirun in this folder
    stale.parent.mkdir(parents=True)
    stale.touch()
    train_stacked(jobs_in(tmp_path), ReplicaRuns(points=10, keep_all=False, lock=tmp_path / "run.lock"), max_replicas=3)
    results = read_results(tmp_path)
    assert [result.outcome == "failed" for result in results] == [False, True, True]
    assert all("No space left on device" in result.error for result in results[1:])
    assert not stale.exists()


def test_a_run_that_cannot_begin_fails_the_jobs_of_its_stack_and_not_the_command(tmp_path):
    (tmp_path / "1" / keys.HIDDEN_STATES_FILE).mkdir(parents=True)  # cannot be removed as a file
    train_stacked(jobs_in(tmp_path), ReplicaRuns(points=10, keep_all=False, lock=tmp_path / "run.lock"), max_replicas=2)
    results = read_results(tmp_path)
    assert [result.outcome == "failed" for result in results] == [True, True, False]
    assert all("Is a directory" in result.error for result in results[:2])
