"""One Hydra job: from its composed config to a finished run, and what is told of it."""

import os
import shlex
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from gradclip import keys
from gradclip.cli.entry import errors_in_one_line, no_empty_folder
from gradclip.cli.messages import interrupted_message, run_message
from gradclip.config.error_messages import USER_ERRORS, describe
from gradclip.config.schema import TrainConfig
from gradclip.config.serialization import fingerprint
from gradclip.config.validation import validate
from gradclip.errors import Interrupted
from gradclip.formatting import signal_name
from gradclip.sweep.multirun import for_multirun, parent_of, run_name
from gradclip.sweep.results import JobResult, job_message
from gradclip.sweep.stopping import STOP_FILE, ask_to_stop, leave_signals_to_main, stopped_by
from gradclip.tracking.process import load_module, result_of, submit
from gradclip.tracking.records import Parent, StoppedRun, Store
from gradclip.training.resume import check_overrides, take_up

if TYPE_CHECKING:
    from gradclip.training.pipeline import Result


def run_job(config: DictConfig) -> None:
    """Train as the config says and tell how it went."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        _run_one_of_many(config)
        return
    with errors_in_one_line(), no_empty_folder():
        settings, stopped = validate(config), None
        if settings.resume is not None:
            check_overrides(HydraConfig.get().overrides.task)
            settings, stopped = take_up(settings.resume, settings.tracking)
        result = _train_or_stop(settings, stopped)
    if _is_main_process():
        print(run_message(result, settings))


def _train_or_stop(config: TrainConfig, resumed: StoppedRun | None) -> "Result":
    """Train; once stopped, tell how to go on and exit as shells expect it."""
    try:
        return _train(config, parent=None, resumed=resumed)
    except Interrupted as stop:
        if not _is_main_process():
            raise SystemExit(0) from stop  # any other code would have Lightning kill the first process
        print(interrupted_message(stop, HydraConfig.get().overrides.task))
        raise SystemExit(128 + stop.signal) from stop


def _run_one_of_many(config: DictConfig) -> None:
    """Leave a note of how the job ended, for the closing table: whatever happens, the other jobs go on."""
    folder, number = Path(HydraConfig.get().runtime.output_dir), int(HydraConfig.get().job.num)
    overrides = " ".join(HydraConfig.get().overrides.task)
    leave_signals_to_main(folder.parent)
    try:
        note = _note_of_one(number, folder.parent, for_multirun(validate(config)))
    except Interrupted as stop:
        ask_to_stop(folder.parent, stop.signal)
        note = JobResult.of_stop(number, overrides, f"stopped by {signal_name(stop.signal)} after step {stop.step}")
    except USER_ERRORS as error:
        note = JobResult.of_failure(number, overrides, describe(error))
    except Exception as error:  # a bug, or a store that failed: its trace is shown, its reason noted
        traceback.print_exc()
        note = JobResult.of_failure(number, overrides, f"{type(error).__name__}: {error}")
    note.write(folder)
    print(job_message(note), flush=True)


def _note_of_one(number: int, multirun: Path, config: TrainConfig) -> JobResult:
    """Run a job of a multirun, unless the multirun was stopped, or the same was run before and that is enough."""
    if stop := stopped_by(multirun):
        overrides = " ".join(HydraConfig.get().overrides.task)
        return JobResult.of_stop(number, overrides, f"not begun: stopped by {signal_name(stop)}")
    if config.skip_finished and config.tracking.uri:
        found = result_of(submit("find_finished", Store.of(config.tracking), fingerprint(config)))
        if found is not None:
            return JobResult.of_finished(number, found)
    return JobResult.of_run(number, _train(config, parent_of(multirun)))


def _train(config: TrainConfig, parent: Parent | None, resumed: StoppedRun | None = None) -> "Result":
    if config.tracking.uri and _is_main_process():  # MLflow loads beside torch
        submit("open_store", Store.of(config.tracking))
    load_module("gradclip.training.pipeline")
    from gradclip.training.pipeline import Job, train

    overrides = list(HydraConfig.get().overrides.task)
    job = Job(
        name=resumed.name if resumed else run_name(config, overrides),
        folder=Path(resumed.folder if resumed else HydraConfig.get().runtime.output_dir),
        tags={} if resumed else {keys.COMMAND: shlex.join(["python", "src/train.py", *overrides])},
        parent=parent,
        is_main=_is_main_process(),
        resumed=resumed,
        stop_file=Path(parent.folder, STOP_FILE) if parent else None,
    )
    return train(config, job)


def _is_main_process() -> bool:
    """Lightning starts further processes of the same command with their rank in the environment."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0
