"""The search, from the overrides to the report."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Override
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from gradclip.config.composition import without_hydra
from gradclip.config.data import OwnDataSettings
from gradclip.config.overrides import failed_job_name
from gradclip.config.validation import validate
from gradclip.errors import ConfigError
from gradclip.program import install_command
from gradclip.sweep.results import JobResult, read_results
from gradclip.sweep.stopping import stopped_by
from gradclip.tracking.records import MULTIRUN_FILE

if TYPE_CHECKING:
    import optuna

    from gradclip.config.schema import TrainConfig
    from gradclip.sweep.search.search_settings import SearchSettings
    from gradclip.sweep.search.space import Space
    from gradclip.sweep.search.trial import Trial

Compose = Callable[[Sequence[str]], DictConfig]


def run_search(
    overrides: Sequence[Override],
    settings: Mapping[str, Any],
    config: DictConfig,
    compose: Compose,
    launcher: Launcher,
) -> None:
    """Search and write the report; all settings are checked before anything is run or written.

    Args:
        overrides: all overrides of the command line.
        settings: settings of the search.
        config: composed config of the multirun.
        compose: composes the config of a job from its overrides.
        launcher: runs jobs.

    Raises:
        ConfigError: a setting or a range is invalid, or Optuna is not installed.
    """
    if find_spec("optuna") is None:
        raise ConfigError(f"hydra/sweeper=search: needs Optuna; {install_command('search')}")
    from gradclip.sweep.search.report import Report, write_report
    from gradclip.sweep.search.search_settings import read_settings
    from gradclip.sweep.search.space import read_space

    checked, space = read_settings(settings), read_space(overrides, config.seed)
    for job in space.corners():
        check_score(checked.score, validate(without_hydra(compose(job))))
    folder = Path(config.hydra.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / MULTIRUN_FILE)  # as Hydra's own sweeper does
    if trials := search(space, checked, Launches(launcher, folder)):  # empty if stopped before the first batch
        report = Report(trials, space.fixed, space.seeds, list(config.hydra.overrides.hydra), space.log_scale)
        write_report(folder, report, config.figure_format)


def check_score(score: str, config: "TrainConfig") -> None:
    """Check that a job has the score that the search optimizes; only user-defined classes may have no test score.

    Raises:
        ConfigError: it has none.
    """
    from gradclip.training.examples import build_data

    own = config.module or (config.data if isinstance(config.data, OwnDataSettings) else None)
    if score == "test" and own and (config.module or "test" not in build_data(config).splits):
        raise ConfigError(f"hydra.sweeper.score: got 'test'; {own.target} has no test score; must be auto or train")


class Launches:
    """Runs jobs of the multirun in a folder with Hydra's launcher, and reads their results."""

    def __init__(self, launcher: Launcher, folder: Path) -> None:
        self.launcher, self.folder = launcher, folder
        self.launched = 0

    @property
    def stopped(self) -> bool:
        """Whether the multirun was asked to stop."""
        return stopped_by(self.folder) is not None

    def __call__(self, jobs: Sequence[list[str]]) -> list[JobResult]:
        """Run jobs in one launch and return their results."""
        first, self.launched = self.launched, self.launched + len(jobs)
        for returned in self.launcher.launch(jobs, initial_job_idx=first):
            returned.return_value  # noqa: B018  # raises the exception of the job
        notes = {note.number: note for note in read_results(self.folder)}
        return [
            notes.get(number) or JobResult(number, failed_job_name(job), error="it left no result")
            for number, job in enumerate(jobs, start=first)
        ]


def search(space: "Space", settings: "SearchSettings", launch: Launches) -> "list[Trial]":
    """Choose settings in batches, each based on the results of earlier batches, and run them.

    Args:
        space: the ranges and the seeds.
        settings: settings of the search.
        launch: runs jobs and returns their results.
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
            _report_to_optuna(study, one, trial)
        found += ran
    return found


def _report_to_optuna(study: "optuna.Study", asked: "optuna.Trial", trial: "Trial") -> None:
    """Report a trial that Optuna suggested, after its jobs ended.

    A diverged trial is reported as the worst possible, so that the sampler avoids its neighbourhood. A trial with a
    failed job is reported as failed and ignored by the sampler, because it says nothing about its settings.
    """
    from optuna.trial import TrialState

    if trial.state == "failed":
        study.tell(asked, state=TrialState.FAIL)
    elif trial.state == "dropped":
        asked.report(trial.loss, step=len(trial.jobs))
        study.tell(asked, state=TrialState.PRUNED)
    else:
        study.tell(asked, trial.loss)
