"""A whole search, from the overrides typed to its report."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Override
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from gradclip.config.validation import validate
from gradclip.errors import ConfigError
from gradclip.program import install_command
from gradclip.sweep.results import JobResult, read_results
from gradclip.sweep.stopping import stopped_by

if TYPE_CHECKING:
    import optuna

    from gradclip.sweep.search.search_settings import SearchSettings
    from gradclip.sweep.search.space import Space
    from gradclip.sweep.search.trial import Trial

Compose = Callable[[Sequence[str]], DictConfig]


def check_installed() -> None:
    """See that Optuna is there.

    Raises:
        ConfigError: it is not.
    """
    if find_spec("optuna") is None:
        raise ConfigError(f"hydra/sweeper=search: needs Optuna; {install_command('search')}")


def run_search(
    overrides: Sequence[Override],
    settings: Mapping[str, Any],
    config: DictConfig,
    compose: Compose,
    launcher: Launcher,
) -> None:
    """Search and write the report; nothing runs and nothing is written before all that can be checked is.

    Args:
        overrides: all that was typed.
        settings: those of the search.
        config: the composed config of the multirun.
        compose: makes the config of one job from its overrides.
        launcher: runs jobs.

    Raises:
        ConfigError: a setting or a range is not right.
    """
    from gradclip.sweep.search.report import Report, write_report
    from gradclip.sweep.search.search_settings import read_settings
    from gradclip.sweep.search.space import read_space

    checked, space = read_settings(settings), read_space(overrides, config.seed)
    for job in space.corners():
        validate(_without_hydra(compose(job)))
    folder = Path(config.hydra.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / "multirun.yaml")  # as Hydra's own sweeper does
    if trials := search(space, checked, Launches(launcher, folder)):  # none if it was stopped at once
        report = Report(trials, space.fixed, space.seeds, list(config.hydra.overrides.hydra), space.log_scale)
        write_report(folder, report, config.figure_format)


def _without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


class Launches:
    """Runs jobs by Hydra's launcher and reads the notes they leave.

    Args:
        launcher: runs jobs.
        folder: of the multirun.
    """

    def __init__(self, launcher: Launcher, folder: Path) -> None:
        self.launcher, self.folder = launcher, folder
        self.launched = 0

    @property
    def stopped(self) -> bool:
        """Whether the multirun was asked to end."""
        return stopped_by(self.folder) is not None

    def __call__(self, jobs: Sequence[list[str]]) -> list[JobResult]:
        """Run jobs together and return how each ended."""
        first, self.launched = self.launched, self.launched + len(jobs)
        for returned in self.launcher.launch(jobs, initial_job_idx=first):
            returned.return_value  # noqa: B018  # raises what the job raised
        notes = {note.number: note for note in read_results(self.folder)}
        return [
            notes.get(number) or JobResult.of_failure(number, " ".join(job), "it left no result")
            for number, job in enumerate(jobs, start=first)
        ]


def search(space: "Space", settings: "SearchSettings", launch: Launches) -> "list[Trial]":
    """Choose settings in batches, each learning from those before, and run them.

    Args:
        space: the ranges and the seeds.
        settings: of the search.
        launch: runs jobs and returns how they ended.
    """
    import optuna

    from gradclip.sweep.search.halving import run_rounds
    from gradclip.sweep.search.trial import Trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=settings.sampler_seed))
    found: list[Trial] = []
    while len(found) < settings.trials and not launch.stopped:
        count = min(settings.batch, settings.trials - len(found))
        asked = [study.ask(space.distributions) for _ in range(count)]
        batch = [
            Trial(one.number, space.values(one.params), (), settings.score, settings.over_seeds, len(space.seeds))
            for one in asked
        ]
        ran = run_rounds(batch, space, settings, launch)
        for one, trial in zip(asked, ran, strict=True):
            report_to_optuna(study, one, trial)
        found += ran
    return found


def report_to_optuna(study: "optuna.Study", asked: "optuna.Trial", trial: "Trial") -> None:
    """Report a trial to Optuna.

    A diverged trial is reported as the worst possible, so that the sampler avoids its neighbourhood: a failed one it
    would ignore. Failed is a trial that says nothing about its settings, because a job broke down.

    Args:
        study: of the search.
        asked: the trial as Optuna suggested it.
        trial: the same trial after its jobs ended.
    """
    from optuna.trial import TrialState

    if trial.state == "failed":
        study.tell(asked, state=TrialState.FAIL)
    elif trial.state == "pruned":
        asked.report(trial.loss, step=len(trial.jobs))
        study.tell(asked, state=TrialState.PRUNED)
    else:
        study.tell(asked, trial.loss)
