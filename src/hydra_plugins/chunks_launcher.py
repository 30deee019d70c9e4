"""``hydra/launcher=vectorized_joblib`` and its like: shares of the jobs by one launcher, within a share another."""

import json
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ChunksLauncher(Launcher):  # type: ignore[misc]  # Hydra is not typed
    """Hydra launcher whose units of work are shares of the jobs, many jobs each.

    Args:
        over: runs the shares, each in a process of its own, on this machine or another that has this folder.
        within: runs the jobs of a share.
        share: how many jobs a share has.
    """

    def __init__(self, over: Launcher, within: Launcher, share: int) -> None:
        self.over, self.within, self.share = over, within, share

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands over; a share is a job to the launcher that runs it."""
        self.folder = Path(config.hydra.sweep.dir).resolve()
        own = HydraContext(hydra_context.config_loader, hydra_context.callbacks)
        share = Share(self.folder, self.within, own, task_function, config)
        self.over.setup(hydra_context=own, task_function=share, config=config)
        # The sweeper composes every job to check it: a launcher that makes this quick does so in the given context.
        copy(self.within).setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs."""
        starts = range(0, len(job_overrides), self.share)
        for number, start in enumerate(starts):
            jobs = [list(overrides) for overrides in job_overrides[start : start + self.share]]
            note_of(self.folder, number).write_text(json.dumps({"first": initial_job_idx + start, "jobs": jobs}))
        returned = self.over.launch([job_overrides[start] for start in starts], initial_job_idx=0)
        for number in range(len(starts)):
            note_of(self.folder, number).unlink()
        return list(chain.from_iterable(share.return_value for share in returned))


def note_of(folder: Path, number: int) -> Path:
    """Where the jobs of a share are written down."""
    return folder / f"share_{number}.json"


@dataclass(frozen=True)
class Share:
    """What runs in place of a job: the jobs of a share.

    Attributes:
        folder: of the multirun.
        within: runs the jobs.
        hydra_context: what that launcher is handed over, as are the next two.
        task_function: runs one job.
        config: of the multirun.
    """

    folder: Path
    within: Launcher
    hydra_context: HydraContext
    task_function: TaskFunction
    config: DictConfig

    def __call__(self, _config: DictConfig) -> list[JobReturn]:
        """Run the jobs of the share whose number the process was given."""
        note = json.loads(note_of(self.folder, int(HydraConfig.get().job.num)).read_text())
        self.within.setup(hydra_context=self.hydra_context, task_function=self.task_function, config=self.config)
        return list(self.within.launch(note["jobs"], initial_job_idx=note["first"]))
