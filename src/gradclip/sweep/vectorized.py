"""The vectorized launcher. Read :func:`launch` first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from gradclip.config.error_messages import USER_ERRORS, describe
from gradclip.config.overrides import as_typed, failed_job_name, is_of_hydra
from gradclip.config.validation import validate
from gradclip.errors import ConfigError, check_choice, disk_errors
from gradclip.sweep.composition import QuickLoader
from gradclip.sweep.design import print_design
from gradclip.sweep.multirun import for_multirun, parent_of
from gradclip.sweep.results import JobResult, end_job, find_finished
from gradclip.sweep.stopping import follow_main
from gradclip.tracking.operations import Operations
from gradclip.tracking.owner import RUN_LOCK
from gradclip.tracking.process import ask, load_module
from gradclip.tracking.records import Parent, Store
from gradclip.training.job import Job

KEEP = ("extremes", "all")  # which runs have figures and a model


def check_settings(settings: Mapping[str, Any], launcher: str = "hydra.launcher") -> None:
    """Refuse settings of a launcher, named by its dotted path, that are out of range.

    Raises:
        ConfigError: a setting is out of range.
    """
    for name in settings.keys() & {"replicas", "points", "chunk"}:
        if type(settings[name]) is not int or settings[name] < 1:  # true is an int, too
            raise ConfigError(f"{launcher}.{name}: got {settings[name]!r}; must be 1 or more")
    if "keep" in settings:
        check_choice(f"{launcher}.keep", settings["keep"], KEEP, ConfigError)


@dataclass(frozen=True)
class Multirun:
    """What the launcher is given before the jobs.

    Attributes:
        settings: the launcher's own settings.
        config: the config of the multirun, with Hydra's part.
        loader: composes the config of a job.
        ordinary: arguments that set up Hydra's own launcher, for jobs that cannot be stacked.
    """

    settings: Mapping[str, Any]
    config: DictConfig
    loader: QuickLoader
    ordinary: Mapping[str, Any]


def set_up(
    settings: Mapping[str, Any], context: HydraContext, task_function: TaskFunction, config: DictConfig
) -> Multirun:
    """Check the settings, and give the sweeper a quick config loader, because it composes every job to check it.

    Args:
        settings: the launcher's own settings.
        context: Hydra's context, whose config loader is replaced.
        task_function: trains one job.
        config: the config of the multirun, with Hydra's part.

    Raises:
        ConfigError: a setting is out of range.
    """
    is_within = "within" in config.hydra.launcher  # another launcher runs chunks
    check_settings(settings, "hydra.launcher.within" if is_within else "hydra.launcher")
    loader = QuickLoader(context.config_loader)
    own = HydraContext(loader.loader, context.callbacks)
    context.config_loader = loader
    return Multirun(settings, config, loader, {"hydra_context": own, "task_function": task_function, "config": config})


def launch(multirun: Multirun, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """Train the jobs that can be stacked, then the other jobs one after the other.

    Args:
        multirun: the result of :func:`set_up`.
        job_overrides: overrides of each job, from the sweeper.
        first: number of the first job.
    """
    folder = Path(multirun.config.hydra.sweep.dir).resolve()
    follow_main(folder)
    parent = parent_of(folder)
    numbered = dict(enumerate(map(list, job_overrides), start=first))
    composed = (_compose_job(multirun, number, overrides, parent) for number, overrides in numbered.items())
    jobs = [job for job in composed if job is not None]
    for store in {Store.of(job.config.tracking) for job in jobs if job.config.tracking.uri}:
        ask(store, Operations.open)  # MLflow loads while torch does
    load_module("gradclip.sweep.stacked_jobs")
    from gradclip.sweep.replica_runs import ReplicaRuns
    from gradclip.sweep.stacked_jobs import train_stacked

    if first == 0 and jobs:
        print_design(folder)
    to_train = []
    for job in jobs:
        if finished := find_finished(job):
            end_job(finished, job.folder)
        else:
            to_train.append(job)
    settings = multirun.settings
    # One lock for all jobs: a process may train chunks of many jobs.
    lock = (to_train[0].folder if to_train else folder) / RUN_LOCK
    runs = ReplicaRuns(settings["points"], settings["keep"] == "all", lock)
    for job in train_stacked(to_train, runs, settings["replicas"]):
        basic = BasicLauncher()
        basic.setup(**multirun.ordinary)
        basic.launch([numbered[job.number]], job.number)
    # The sweeper expects a return value of each job; a failure is in the job's result file.
    typed = ([text for text in overrides if not is_of_hydra(text)] for overrides in numbered.values())
    return [JobReturn(overrides=some, status=JobStatus.COMPLETED) for some in typed]


def _compose_job(multirun: Multirun, number: int, overrides: Sequence[str], parent: Parent) -> Job | None:
    """Compose a job; if its settings or its folder cannot be used, write and print that it failed, and return None."""
    folder = Path(parent.folder, _subfolder(multirun.config, number))
    typed = tuple(as_typed([text for text in overrides if not is_of_hydra(text)]))
    try:
        config = for_multirun(validate(multirun.loader.load_sweep_config(multirun.config, overrides)))
        with disk_errors(folder):  # while it trains, an error would end all jobs that are stacked with it
            folder.mkdir(parents=True, exist_ok=True)
            TemporaryFile(dir=folder).close()
        return Job(config, typed, folder, number, parent)
    except USER_ERRORS as error:
        end_job(JobResult(number, failed_job_name(typed), error=describe(error)), folder)
        return None


def _subfolder(config: DictConfig, number: int) -> str:
    """Return the name of a job's folder within the folder of the multirun."""
    name = str(dict(config.hydra.sweep.items_ex(resolve=False))["subdir"]).replace("${hydra.job.num}", str(number))
    if "${" not in name:  # Hydra would take half a millisecond to resolve it
        return name
    with open_dict(config):
        config.hydra.job.num = config.hydra.job.id = number
    return str(config.hydra.sweep.subdir)
