"""Train jobs stacked; no Hydra. Read :func:`train_stacked` from top to bottom."""

import sys
import traceback
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gradclip.config.error_messages import USER_ERRORS, describe
from gradclip.errors import Interrupted, StackingError, disk_errors
from gradclip.formatting import signal_name
from gradclip.stacked.replicas import make_replicas
from gradclip.stacked.training import StackedTraining, keep_freed_memory
from gradclip.sweep.replica_runs import ReplicaRuns
from gradclip.sweep.results import JobResult, job_message
from gradclip.sweep.stacking import group, refusal
from gradclip.sweep.stopping import stopped_by
from gradclip.training.components import choose_device
from gradclip.training.job import Job

BAR = "{desc}: {percentage:3.0f}%|{bar}| {total} runs [{elapsed}<{remaining}]"
MAX_NAMED = 5  # jobs that are named where many have the same reason


def train_stacked(jobs: Sequence[Job], runs: ReplicaRuns, max_replicas: int) -> list[Job]:
    """Train groups of jobs stacked, and write their runs and how each ended.

    Args:
        jobs: to train; all belong to one multirun.
        runs: writes them.
        max_replicas: how many are stacked at most.

    Returns:
        The jobs that cannot be stacked; the reasons are printed.
    """
    keep_freed_memory()
    refused = {job.number: reason for job in jobs if (reason := refusal(job.config))}
    by_number = {job.number: job for job in jobs}
    groups = group({job.number: job.config for job in jobs if job.number not in refused})
    hidden = None if groups else True  # None: where there is no terminal
    with tqdm(total=len(jobs) - len(refused), desc="Training", bar_format=BAR, disable=hidden) as bar:
        for numbers in groups:
            for start in range(0, len(numbers), max_replicas):
                some = [by_number[number] for number in numbers[start : start + max_replicas]]
                refused |= _train_group(some, runs, bar)
    runs.finish()
    _print_reasons(refused)
    return [by_number[number] for number in sorted(refused)]


def end_job(job: Job, result: JobResult) -> None:
    """Write and print how a job ended that was not trained to its end."""
    result.write(job.folder)
    print(job_message(result), flush=True)


def _train_group(jobs: Sequence[Job], runs: ReplicaRuns, bar: Any) -> dict[int, str]:
    """Train jobs that may be stacked together; return the reason of each that could not be."""
    multirun = _multirun_of(jobs)
    if stop := stopped_by(multirun):
        _end_stopped(jobs, f"not begun: stopped by {signal_name(stop)}")
        return {}
    try:
        training = _stack(jobs, multirun, bar)
    except StackingError as error:
        return dict.fromkeys((job.number for job in jobs), str(error))
    except USER_ERRORS:
        return dict.fromkeys((job.number for job in jobs), "")  # each will report it by itself
    runs.begin((job, replica.data) for job, replica in zip(jobs, training.replicas, strict=True))
    _train(training, jobs, runs)
    return {}


def _multirun_of(jobs: Sequence[Job]) -> Path:
    parent = jobs[0].parent
    assert parent is not None
    return Path(parent.folder)


def _stack(jobs: Sequence[Job], multirun: Path, bar: Any) -> StackedTraining:
    """A training of all jobs, which advances the bar and ends when the multirun is stopped."""

    def advance(steps: int) -> None:
        bar.update(min(steps / training.total_steps, bar.total - bar.n))  # fractions add up to a little too much
        if number := stopped_by(multirun):
            raise Interrupted(number)

    configs = [job.config for job in jobs]
    training = StackedTraining(make_replicas(configs), choose_device(configs[0]), advance)
    return training


def _train(training: StackedTraining, jobs: Sequence[Job], runs: ReplicaRuns) -> None:
    """Train, and write each run as its training ends; whatever happens, other groups go on."""
    try:
        with disk_errors(_multirun_of(jobs)):
            for ended in training.run():
                runs.end(((jobs[index].number, result) for index, result in ended), training.end_time)
    except Interrupted as stop:
        reason = f"stopped by {signal_name(stop.signal)} after step {training.steps}"
        _end_stopped(runs.abandon("KILLED"), reason)
    except USER_ERRORS as error:
        _end_failed(runs.abandon("FAILED"), describe(error))
    except Exception as error:  # a bug, or too little memory: its trace is shown, its reason noted
        traceback.print_exc()
        _end_failed(runs.abandon("FAILED"), f"{type(error).__name__}: {error}")


def _end_failed(jobs: Sequence[Job], reason: str) -> None:
    for job in jobs:
        end_job(job, JobResult.of_failure(job.number, " ".join(job.overrides), reason))


def _end_stopped(jobs: Sequence[Job], reason: str) -> None:
    for job in jobs:
        end_job(job, JobResult.of_stop(job.number, " ".join(job.overrides), reason))


def _print_reasons(refused: Mapping[int, str]) -> None:
    """Print each reason once, with the jobs that are run one by one because of it."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, reason in refused.items():
        numbers[reason].append(number)
    for reason, some in numbers.items():
        if reason:
            more = f" and {len(some) - MAX_NAMED} more" if len(some) > MAX_NAMED else ""
            which = ", ".join(map(str, some[:MAX_NAMED])) + more
            print(f"Jobs {which} run by themselves: {reason}", file=sys.stderr)
