"""Launcher of chunks, such as ``hydra/launcher=vectorized_joblib``: one launcher runs chunks, another their jobs."""

import json
from collections.abc import Sequence
from copy import copy
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ChunksLauncher(Launcher):  # type: ignore[misc]  # Hydra is not typed
    """Hydra launcher that runs chunks of jobs with one launcher, and the jobs of a chunk with another.

    Args:
        over: launcher of the chunks; each has its own process, on this machine or on another that shares the folder.
        within: launcher of the jobs in a chunk.
        chunk: number of jobs in a chunk.
    """

    def __init__(self, over: Launcher, within: Launcher, chunk: int) -> None:
        self.over, self.within, self.chunk = over, within, chunk

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Set up both launchers; the launcher of the chunks runs each chunk as one job.

        Raises:
            ConfigError: the size of a chunk is out of range.
        """
        from gradclip.sweep.vectorized import check_settings

        check_settings({"chunk": self.chunk})
        self.folder = Path(config.hydra.sweep.dir).resolve()
        context = HydraContext(hydra_context.config_loader, hydra_context.callbacks)
        setup = {"hydra_context": context, "task_function": task_function, "config": config}
        run_one = partial(run_chunk, self.folder, self.within, setup)
        self.over.setup(hydra_context=context, task_function=run_one, config=config)
        # The sweeper composes every job to check it; a launcher that speeds this up changes the context it is given.
        copy(self.within).setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs.

        Raises:
            ConfigError: the launcher of the chunks refuses its settings.
        """
        from gradclip.errors import ConfigError

        starts = range(0, len(job_overrides), self.chunk)
        files = [chunk_file(self.folder, number) for number in range(len(starts))]
        for file, start in zip(files, starts, strict=True):
            jobs = [list(overrides) for overrides in job_overrides[start : start + self.chunk]]
            file.write_text(json.dumps({"first": initial_job_idx + start, "jobs": jobs}))
        try:
            returned = self.over.launch([job_overrides[start] for start in starts], initial_job_idx=0)
        except ConfigError:  # no job was started, and a refused multirun leaves no files
            _remove(files)
            raise
        _remove(files)
        return list(chain.from_iterable(chunk.return_value for chunk in returned))


def chunk_file(folder: Path, number: int) -> Path:
    """Return the file that lists the jobs of a chunk."""
    return folder / f"chunk_{number}.json"


def run_chunk(folder: Path, within: Launcher, setup: dict[str, Any], _config: DictConfig) -> list[JobReturn]:
    """Run the jobs of the chunk whose number this process was given.

    Args:
        folder: folder of the multirun.
        within: launcher of the jobs.
        setup: arguments of its ``setup``.
    """
    chunk = json.loads(chunk_file(folder, int(HydraConfig.get().job.num)).read_text())
    within.setup(**setup)
    return list(within.launch(chunk["jobs"], initial_job_idx=chunk["first"]))


def _remove(files: Sequence[Path]) -> None:
    for file in files:
        file.unlink()
