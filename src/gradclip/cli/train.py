"""The command that trains: one Hydra job, from its composed config to a finished run and what is printed."""

import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from gradclip.cli.entry import errors_in_one_line, no_empty_folder
from gradclip.cli.messages import interrupted_message, run_message
from gradclip.config.error_messages import USER_ERRORS, describe
from gradclip.config.validation import validate
from gradclip.errors import Interrupted
from gradclip.formatting import signal_name
from gradclip.sweep.multirun import for_multirun, parent_of
from gradclip.sweep.results import JobResult, find_finished, job_message
from gradclip.sweep.stopping import ask_to_stop, leave_signals_to_main, stopped_by
from gradclip.tracking.operations import Operations
from gradclip.tracking.process import ask, load_module
from gradclip.tracking.records import Store
from gradclip.training.job import Job
from gradclip.training.resume import check_overrides, find_stopped

if TYPE_CHECKING:
    from gradclip.training.result import Result


def run_job(config: DictConfig) -> None:
    """Train as the config says and print how it ended."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        _run_one_of_many(config)
        return
    with errors_in_one_line(), no_empty_folder() as folder:
        job = _single_job(config, folder)
        result = _train_or_stop(job)
    if job.is_main:
        print(run_message(job, result))


def _single_job(config: DictConfig, folder: Path) -> Job:
    """The job that the config describes, or the run that it resumes."""
    settings, overrides = validate(config), _overrides()
    if settings.resume is None:
        return Job(settings, overrides, folder, is_main=_is_main_process())
    check_overrides(overrides)
    settings, stopped = find_stopped(settings.resume, settings.tracking)
    return Job(settings, overrides, Path(stopped.folder), resumed=stopped, is_main=_is_main_process())


def _train_or_stop(job: Job) -> "Result":
    """Train; if stopped, print how to resume and exit as shells expect it."""
    try:
        return _train(job)
    except Interrupted as stop:
        if not job.is_main:
            raise SystemExit(0) from stop  # any other code would have Lightning kill the first process
        print(interrupted_message(stop, job.overrides))
        raise SystemExit(128 + stop.signal) from stop


def _run_one_of_many(config: DictConfig) -> None:
    """Write how the job ended for the closing table; whatever happens, the other jobs go on."""
    folder, number = Path(HydraConfig.get().runtime.output_dir), int(HydraConfig.get().job.num)
    typed = " ".join(_overrides())
    leave_signals_to_main(folder.parent)
    try:
        job = Job(for_multirun(validate(config)), _overrides(), folder, number, parent_of(folder.parent))
        ended = _result_of_one(job, folder.parent)
    except Interrupted as stop:
        ask_to_stop(folder.parent, stop.signal)
        ended = JobResult.of_stop(number, typed, f"stopped by {signal_name(stop.signal)} after step {stop.step}")
    except USER_ERRORS as error:
        ended = JobResult.of_failure(number, typed, describe(error))
    except Exception as error:  # a bug, or a store that failed: its trace is shown, its reason noted
        traceback.print_exc()
        ended = JobResult.of_failure(number, typed, f"{type(error).__name__}: {error}")
    ended.write(folder)
    print(job_message(ended), flush=True)


def _result_of_one(job: Job, multirun: Path) -> JobResult:
    """Run a job, unless the multirun was stopped, or a finished run with the same settings is enough."""
    if stop := stopped_by(multirun):
        reason = f"not begun: stopped by {signal_name(stop)}"
        return JobResult.of_stop(job.number, " ".join(job.overrides), reason)
    return find_finished(job) or JobResult.of_run(job, _train(job))


def _train(job: Job) -> "Result":
    if job.config.tracking.uri and job.is_main:  # MLflow loads beside torch
        ask(Store.of(job.config.tracking), Operations.open)
    load_module("gradclip.training.pipeline")
    from gradclip.training.pipeline import train

    return train(job)


def _overrides() -> tuple[str, ...]:
    return tuple(HydraConfig.get().overrides.task)


def _is_main_process() -> bool:
    """Lightning starts further processes of the same command with their rank in the environment."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0
