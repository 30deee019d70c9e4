"""One job of a multirun that is not stacked."""

import time
import traceback
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from gradclip.config.error_messages import USER_ERRORS, describe
from gradclip.config.overrides import as_typed, failed_job_name
from gradclip.config.schema import TrainConfig
from gradclip.config.validation import validate
from gradclip.errors import Interrupted
from gradclip.formatting import signal_name
from gradclip.sweep.design import count_jobs, print_design
from gradclip.sweep.multirun import for_multirun, launcher_classes, parent_of
from gradclip.sweep.results import JobResult, count_results, failure_reason, find_finished, job_message
from gradclip.sweep.stacking import refusal
from gradclip.sweep.stopping import ask_to_stop, follow_main, stopped_by
from gradclip.terminal import standard_output
from gradclip.tracking.records import MULTIRUN_FILE
from gradclip.training.job import Job
from gradclip.training.start import train_job

MIN_JOBS_FOR_HINT = 6  # about stacking: each job takes seconds to start


def run_one_of_many(config: DictConfig) -> None:
    """Train a job and write its result for the final table; an error does not stop the other jobs."""
    folder, number = Path(HydraConfig.get().runtime.output_dir), int(HydraConfig.get().job.num)
    overrides = tuple(as_typed(HydraConfig.get().overrides.task))
    follow_main(folder.parent)
    try:
        job = Job(for_multirun(validate(config)), overrides, folder, number, parent_of(folder.parent))
        stacks = "VectorizedLauncher" in launcher_classes(HydraConfig.get().launcher)  # and has printed the design
        if number == 0 and not stacks:
            with standard_output():
                print_design(folder.parent)
                print_hint(job.config, folder.parent)
        result = _run(job, folder.parent)
    except Interrupted as stop:
        ask_to_stop(folder.parent, stop.signal)
        reason = f"stopped by {signal_name(stop.signal)} after step {stop.step}"
        refused = describe(stop.refused) if stop.refused else ""
        result = JobResult(number, failed_job_name(overrides), outcome="stopped", error=reason, refused=refused)
    except Exception as error:
        if not isinstance(error, USER_ERRORS):  # a bug or a failed store
            traceback.print_exc()
        result = JobResult(number, failed_job_name(overrides), error=failure_reason(error))
    result.write(folder)
    print(f"{job_message(result)}{progress(folder.parent)}", flush=True)


def print_hint(config: TrainConfig, multirun: Path) -> None:
    """Print that the jobs could be stacked, if there are many."""
    jobs = count_jobs(multirun)
    if jobs is not None and jobs >= MIN_JOBS_FOR_HINT and not refusal(config):
        print(f"{jobs} jobs run separately; hydra/launcher=vectorized trains them together, which is faster")


def progress(multirun: Path) -> str:
    """Return how many jobs of a multirun are done and how long the others will take; nothing once it was stopped."""
    if stopped_by(multirun):
        return ""  # jobs that were not started are not done; the final report has the number
    jobs, done = count_jobs(multirun), count_results(multirun)
    if jobs is None:
        return f" ({done} done)"
    seconds = (time.time() - (multirun / MULTIRUN_FILE).stat().st_mtime) / max(done, 1) * (jobs - done)
    left = f", about {seconds:.0f} s left" if seconds < 100 else f", about {seconds / 60:.0f} min left"
    return f" ({done} of {jobs}{left if seconds > 0 else ''})"  # the clock may have changed


def _run(job: Job, multirun: Path) -> JobResult:
    """Train, unless the multirun was stopped or a finished run with the same settings can be reused."""
    if stop := stopped_by(multirun):
        reason = f"not started: stopped by {signal_name(stop)}"
        return JobResult(job.number, job.name, outcome="stopped", error=reason)
    if finished := find_finished(job):
        return finished
    trained = train_job(job)
    return JobResult.of_run(job, trained.run, trained.summary)
