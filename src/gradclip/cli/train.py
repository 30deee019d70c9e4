"""The command ``train``: runs one Hydra job, from its composed config to a finished run."""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from gradclip.cli.entry import errors_in_one_line, output_folder
from gradclip.cli.messages import interrupted_message, run_message
from gradclip.config.error_messages import describe
from gradclip.config.overrides import as_typed
from gradclip.config.validation import check_threshold, validate
from gradclip.errors import Interrupted
from gradclip.terminal import announce, print_lines
from gradclip.training.job import Job
from gradclip.training.resume import check_overrides, find_stopped
from gradclip.training.start import is_main_process, train_job

if TYPE_CHECKING:
    from gradclip.training.result import Result


def run_job(config: DictConfig) -> None:
    """Train as the config says and print how the run ended."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        from gradclip.sweep.multirun_job import run_one_of_many

        run_one_of_many(config)
        return
    with errors_in_one_line():
        job = _single_job(config, output_folder())
        if job.is_main:
            announce(f"Run: {job.name}; loading PyTorch ...")
        result = _train_or_stop(job)
        if job.is_main:
            print_lines(run_message(job, result))
        if result.run and result.run.refused:
            raise result.run.refused


def _single_job(config: DictConfig, folder: Path) -> Job:
    """Return the job that the config describes, or the job that resumes a stopped run."""
    settings, overrides = validate(config), tuple(as_typed(HydraConfig.get().overrides.task))
    if settings.resume is None:
        check_threshold(settings, overrides)
        return Job(settings, overrides, folder, is_main=is_main_process())
    check_overrides(overrides)
    is_main = is_main_process()
    settings, stopped = find_stopped(settings.resume, settings.tracking, is_main)
    return Job(settings, overrides, Path(stopped.folder), resumed=stopped, is_main=is_main)


def _train_or_stop(job: Job) -> "Result":
    """Train; if stopped, print how to resume and exit with the code that shells expect."""
    try:
        return train_job(job)
    except Interrupted as stop:
        if not job.is_main:
            raise SystemExit(0) from stop  # on any other code Lightning kills the first process
        print_lines(interrupted_message(stop, job.overrides))
        if stop.refused:
            print(f"error: {describe(stop.refused)}", file=sys.stderr)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # as Python exits, Ctrl-C would print a traceback
        raise SystemExit(128 + stop.signal) from stop
