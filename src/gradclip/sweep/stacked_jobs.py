"""Training of stacked jobs, without Hydra. Read :func:`train_stacked` first."""

import sys
import traceback
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gradclip.config.error_messages import USER_ERRORS
from gradclip.errors import Interrupted, StackingError, disk_errors, memory_errors
from gradclip.formatting import counted, signal_name
from gradclip.stacked.replicas import make_replicas
from gradclip.stacked.training import StackedTraining, keep_freed_memory
from gradclip.sweep.replica_runs import ReplicaRuns
from gradclip.sweep.results import JobResult, failure_reason
from gradclip.sweep.stacking import group, refusal
from gradclip.sweep.stopping import stopped_by
from gradclip.training.components import choose_device
from gradclip.training.job import Job

BAR = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"
MAX_NAMED = 5  # maximum number of jobs named for one reason


def train_stacked(jobs: Sequence[Job], runs: ReplicaRuns, max_replicas: int) -> list[Job]:
    """Train groups of stacked jobs, and write their runs and results.

    Args:
        jobs: the jobs, all of one multirun.
        runs: writer of the runs.
        max_replicas: largest number of replicas in one stack.

    Returns:
        The jobs that cannot be stacked; the reasons are printed.
    """
    keep_freed_memory()
    refused = {job.number: reason for job in jobs if (reason := refusal(job.config))}
    groups = group([job for job in jobs if job.number not in refused])
    hidden = None if groups else True  # None hides the bar if there is no terminal
    stacked = len(jobs) - len(refused)
    with tqdm(total=stacked, desc=f"Training {counted(stacked, 'run')}", bar_format=BAR, disable=hidden) as bar:
        for some in groups:
            for start in range(0, len(some), max_replicas):
                refused |= _train_group(some[start : start + max_replicas], runs, bar)
    runs.finish()
    _print_reasons(refused)
    return [job for job in jobs if job.number in refused]


def _train_group(jobs: Sequence[Job], runs: ReplicaRuns, bar: Any) -> dict[int, str]:
    """Train jobs that may be stacked together; return the reasons of those that could not be stacked."""
    multirun = jobs[0].folder.parent
    if stop := stopped_by(multirun):
        _end(jobs, "stopped", f"not started: stopped by {signal_name(stop)}")
        return {}
    try:
        training = _stack(jobs, multirun, bar)
    except StackingError as error:
        return dict.fromkeys((job.number for job in jobs), str(error))
    except USER_ERRORS:
        return dict.fromkeys((job.number for job in jobs), "")  # each job will report the error when it runs alone
    _train(training, jobs, runs)
    return {}


def _stack(jobs: Sequence[Job], multirun: Path, bar: Any) -> StackedTraining:
    """Return the stacked training of all jobs, which advances the bar and ends when the multirun is stopped."""

    def advance(steps: int) -> None:
        bar.update(min(steps / training.total_steps, bar.total - bar.n))  # rounding may exceed the total
        if number := stopped_by(multirun):
            raise Interrupted(number)

    configs = [job.config for job in jobs]
    training = StackedTraining(make_replicas(configs), choose_device(configs[0]), advance)
    return training


def _train(training: StackedTraining, jobs: Sequence[Job], runs: ReplicaRuns) -> None:
    """Train, and write each run from its beginning to its end; an error does not stop the other groups."""
    try:
        with disk_errors(jobs[0].folder.parent), memory_errors("hydra.launcher.replicas"):
            runs.begin([(job, replica.data) for job, replica in zip(jobs, training.replicas, strict=True)])
            for ended in training.run():
                runs.end(((jobs[index].number, result) for index, result in ended), training.end_time)
    except Interrupted as stop:
        reason = f"stopped by {signal_name(stop.signal)} after step {training.steps}"
        _end(runs.abandon("KILLED"), "stopped", reason)
    except Exception as error:
        if not isinstance(error, USER_ERRORS):  # a bug
            traceback.print_exc()
        failed = runs.abandon("FAILED")
        _end(failed, "failed", failure_reason(error))
        print(f"{counted(len(failed), 'run')} failed: {failure_reason(error)}", file=sys.stderr)


def _end(jobs: Sequence[Job], outcome: str, reason: str) -> None:
    """Write the results of jobs that were not trained to their end."""
    for job in jobs:
        JobResult(job.number, job.name, outcome=outcome, error=reason).write(job.folder)


def _print_reasons(refused: Mapping[int, str]) -> None:
    """Print each reason once, with the jobs that run separately because of it."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, reason in refused.items():
        numbers[reason].append(number)
    for reason, some in numbers.items():
        if reason:
            more = f" and {len(some) - MAX_NAMED} more" if len(some) > MAX_NAMED else ""
            which = ", ".join(map(str, some[:MAX_NAMED])) + more
            who = f"Job {which} runs" if len(some) == 1 else f"Jobs {which} run"
            print(f"{who} separately: {reason}", file=sys.stderr)
