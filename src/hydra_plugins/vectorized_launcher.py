"""``hydra/launcher=vectorized``: Hydra finds it because ``python src/train.py`` imports from ``src/``.

Hydra imports this module at every start, so it imports nothing heavy.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class VectorizedLauncher(Launcher):  # type: ignore[misc]  # Hydra is not typed
    """Hydra launcher that trains the jobs of a multirun stacked; settings: ``conf/hydra/launcher/vectorized.yaml``."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Check the settings, and prepare the multirun."""
        from gradclip.sweep.vectorized import set_up

        self.multirun = set_up(self.settings, hydra_context, task_function, config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Train all jobs."""
        from gradclip.sweep.vectorized import launch

        return launch(self.multirun, job_overrides, initial_job_idx)
