"""One job of a multirun, as Hydra's basic launcher and joblib, Ray and Slurm run it."""

import traceback
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from gradclip.config.error_messages import USER_ERRORS, describe
from gradclip.config.overrides import as_typed
from gradclip.config.validation import validate
from gradclip.errors import Interrupted
from gradclip.formatting import signal_name
from gradclip.sweep.design import print_design
from gradclip.sweep.multirun import for_multirun, parent_of
from gradclip.sweep.results import JobResult, find_finished, job_message
from gradclip.sweep.stopping import ask_to_stop, follow_main, stopped_by
from gradclip.training.job import Job
from gradclip.training.start import train_job


def run_one_of_many(config: DictConfig) -> None:
    """Train a job and write how it ended for the final table; whatever happens, the other jobs go on."""
    folder, number = Path(HydraConfig.get().runtime.output_dir), int(HydraConfig.get().job.num)
    overrides = tuple(as_typed(HydraConfig.get().overrides.task))
    typed = " ".join(overrides)
    follow_main(folder.parent)
    try:
        job = Job(for_multirun(validate(config)), overrides, folder, number, parent_of(folder.parent))
        if number == 0:
            print_design(folder.parent)
        result = _run(job, folder.parent)
    except Interrupted as stop:
        ask_to_stop(folder.parent, stop.signal)
        result = JobResult.of_stop(number, typed, f"stopped by {signal_name(stop.signal)} after step {stop.step}")
    except USER_ERRORS as error:
        result = JobResult.of_failure(number, typed, describe(error))
    except Exception as error:  # a bug, or a store that failed: its trace is shown, its reason noted
        traceback.print_exc()
        result = JobResult.of_failure(number, typed, f"{type(error).__name__}: {error}")
    result.write(folder)
    print(job_message(result), flush=True)


def _run(job: Job, multirun: Path) -> JobResult:
    """Train, unless the multirun was stopped, or a finished run with the same settings is enough."""
    if stop := stopped_by(multirun):
        reason = f"not begun: stopped by {signal_name(stop)}"
        return JobResult.of_stop(job.number, " ".join(job.overrides), reason)
    return find_finished(job) or JobResult.of_run(job, train_job(job))
