"""The vectorized launcher. Read :func:`launch` from top to bottom."""

import shlex
import sys
import traceback
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, open_dict

from gradclip import keys
from gradclip.config.error_messages import USER_ERRORS, describe
from gradclip.config.schema import TrainConfig
from gradclip.config.serialization import fingerprint
from gradclip.config.validation import validate
from gradclip.errors import Interrupted, StackingError
from gradclip.formatting import signal_name
from gradclip.sweep.multirun import for_multirun, parent_of, run_name
from gradclip.sweep.results import JobResult, job_message
from gradclip.sweep.stacking import group, refusal
from gradclip.sweep.stopping import stopped_by
from gradclip.tracking.process import load_module, result_of, submit
from gradclip.tracking.records import Parent, Store

if TYPE_CHECKING:
    from gradclip.stacked.training import StackedTraining
    from gradclip.sweep.replica_runs import ReplicaRuns
    from gradclip.training.pipeline import Job


BAR = "{desc}: {percentage:3.0f}%|{bar}| {total} runs [{elapsed}<{remaining}]"


@dataclass(frozen=True)
class Planned:
    """A job of the multirun.

    Attributes:
        number: counted from 0.
        overrides: all of them, as the sweeper gave them.
        folder: where it writes.
        config: its settings; None where they are wrong.
    """

    number: int
    overrides: list[str]
    folder: Path
    config: TrainConfig | None

    @property
    def typed(self) -> list[str]:
        """The overrides that are not Hydra's own."""
        return [override for override in self.overrides if not override.lstrip("+~").startswith(("hydra.", "hydra/"))]


def launch(launcher: Any, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """Train what can be stacked together, then the other jobs one after the other.

    Args:
        launcher: the plugin, with its settings.
        job_overrides: of each job.
        first: number of the first job.
    """
    folder = Path(launcher.config.hydra.sweep.dir).resolve()
    jobs = [plan(launcher, first + place, overrides) for place, overrides in enumerate(job_overrides)]
    ready = {job.number: job for job in jobs if job.config}
    _load_mlflow(ready)
    ready = {number: job for number, job in ready.items() if not _done_before(job)}
    for number in train_stacked(launcher.settings, ready, parent_of(folder)):
        run_ordinarily(launcher, ready[number])
    return [_returned(job) for job in jobs]


def plan(launcher: Any, number: int, overrides: Sequence[str]) -> Planned:
    """Compose a job's settings; wrong ones are noted for the closing table."""
    folder = _folder(launcher.config, number)
    job = Planned(number, list(overrides), folder, None)
    try:
        composed = launcher.loader.load_sweep_config(launcher.config, overrides)
        return Planned(number, list(overrides), folder, for_multirun(validate(composed)))
    except USER_ERRORS as error:
        _note(job, JobResult.of_failure(number, " ".join(job.typed), describe(error)))
        return job


def train_stacked(settings: Any, jobs: dict[int, Planned], parent: Parent) -> list[int]:
    """Train groups of jobs; return the numbers of those that have to run by themselves, and say why."""
    from tqdm import tqdm

    load_module("gradclip.sweep.replica_runs")
    from gradclip.stacked.training import keep_freed_memory
    from gradclip.sweep.replica_runs import ReplicaRuns

    keep_freed_memory()
    refused, most = _refused(jobs), int(settings["replicas"])
    groups = group({number: job.config for number, job in jobs.items() if job.config and number not in refused})
    with tqdm(total=len(jobs) - len(refused), desc="Training", bar_format=BAR, disable=not groups) as bar:
        runs = ReplicaRuns(int(settings["points"]), settings["keep"] == "all")
        for numbers in groups:
            for begin in range(0, len(numbers), most):
                some = numbers[begin : begin + most]
                refused |= _train_group([jobs[number] for number in some], parent, runs, bar)
    runs.finish()
    _tell(refused)
    return sorted(refused)


def run_ordinarily(launcher: Any, job: Planned) -> None:
    """Run one job as Hydra's basic launcher does."""
    basic = BasicLauncher()
    basic.setup(**launcher.ordinary)
    basic.launch([job.overrides], job.number)


def _train_group(jobs: Sequence[Planned], parent: Parent, runs: "ReplicaRuns", bar: Any) -> dict[int, str]:
    """Train jobs that differ in what can be stacked; return the reason of each that could not be."""
    multirun = Path(parent.folder)
    if stop := stopped_by(multirun):
        _note_stop(jobs, f"not begun: stopped by {signal_name(stop)}")
        return {}
    try:
        training = _stack(jobs, multirun, bar)
    except StackingError as error:
        return dict.fromkeys((job.number for job in jobs), str(error))
    except USER_ERRORS:
        return dict.fromkeys((job.number for job in jobs), "")  # each will say it for itself
    for job, replica in zip(jobs, training.replicas, strict=True):
        runs.begin(job.number, replica.config, _described(job, replica.config, parent), replica.data)
    _train(training, jobs, runs)
    return {}


def _stack(jobs: Sequence[Planned], multirun: Path, bar: Any) -> "StackedTraining":
    """Put trainings together, which move the bar on and end when the multirun is stopped."""
    from gradclip.stacked.replicas import make_replicas
    from gradclip.stacked.training import StackedTraining
    from gradclip.training.components import choose_device

    def move_on(steps: int) -> None:
        bar.update(min(steps / training.total_steps, bar.total - bar.n))  # fractions add up to a little too much
        if number := stopped_by(multirun):
            raise Interrupted(number)

    configs = [job.config for job in jobs if job.config]
    training = StackedTraining(make_replicas(configs), choose_device(configs[0]), move_on)
    return training


def _described(job: Planned, config: TrainConfig, parent: Parent) -> "Job":
    """What a job's run is called and where its files go."""
    from gradclip.training.pipeline import Job

    tags = {keys.COMMAND: shlex.join(["python", "src/train.py", *job.typed])}
    return Job(run_name(config, job.typed), job.folder, tags, parent)


def _train(training: "StackedTraining", jobs: Sequence[Planned], runs: "ReplicaRuns") -> None:
    """Train, and write each run as its training ends; whatever happens, other groups go on."""
    try:
        for place, trained in training.run():
            runs.end(jobs[place].number, trained, training.end_time)
    except Interrupted as end:
        reason = f"stopped by {signal_name(end.signal)} after step {training.steps}"
        _note_stop(_abandoned(jobs, runs, "KILLED"), reason)
    except Exception as error:  # a bug, or too little memory: its trace is shown, its reason noted
        traceback.print_exc()
        for job in _abandoned(jobs, runs, "FAILED"):
            _note(job, JobResult.of_failure(job.number, " ".join(job.typed), f"{type(error).__name__}: {error}"))


def _abandoned(jobs: Sequence[Planned], runs: "ReplicaRuns", status: str) -> list[Planned]:
    numbers = set(runs.abandon(status))
    return [job for job in jobs if job.number in numbers]


def _note_stop(jobs: Sequence[Planned], reason: str) -> None:
    for job in jobs:
        _note(job, JobResult.of_stop(job.number, " ".join(job.typed), reason))


def _done_before(job: Planned) -> bool:
    """Note a job whose like was run before, where that is enough."""
    assert job.config is not None
    if not (job.config.skip_finished and job.config.tracking.uri):
        return False
    found = result_of(submit("find_finished", Store.of(job.config.tracking), fingerprint(job.config)))
    if found is not None:
        _note(job, JobResult.of_finished(job.number, found))
    return found is not None


def _note(job: Planned, note: JobResult) -> None:
    """Note how a job ended that was not trained to its end."""
    job.folder.mkdir(parents=True, exist_ok=True)
    note.write(job.folder)
    print(job_message(note), flush=True)


def _refused(jobs: dict[int, Planned]) -> dict[int, str]:
    reasons = {number: refusal(job.config) for number, job in jobs.items() if job.config}
    return {number: reason for number, reason in reasons.items() if reason}


def _tell(refused: dict[int, str]) -> None:
    """Say once for each reason which jobs run by themselves."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, reason in refused.items():
        numbers[reason].append(number)
    for reason, some in numbers.items():
        if reason:
            which = ", ".join(map(str, some[:5])) + (f" and {len(some) - 5} more" if len(some) > 5 else "")
            print(f"Jobs {which} run by themselves: {reason}", file=sys.stderr)


def _load_mlflow(jobs: dict[int, Planned]) -> None:
    """Have MLflow load beside torch."""
    configs = [job.config for job in jobs.values() if job.config]
    for store in {Store.of(config.tracking) for config in configs if config.tracking.uri}:
        submit("open_store", store)


def _folder(config: DictConfig, number: int) -> Path:
    with open_dict(config):
        config.hydra.job.num = config.hydra.job.id = number
    return Path(config.hydra.sweep.dir, str(config.hydra.sweep.subdir)).resolve()


def _returned(job: Planned) -> JobReturn:
    """What the sweeper wants to know."""
    done = JobReturn()
    done.overrides, done.status, done.return_value = job.typed, JobStatus.COMPLETED, None
    return done
