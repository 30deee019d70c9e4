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
        """Check the settings, and give the sweeper a quick config loader, because it composes every job to check it."""
        from gradclip.sweep.composition import QuickLoader
        from gradclip.sweep.vectorized import check_settings

        is_within = "within" in config.hydra.launcher  # another launcher runs chunks
        check_settings(self.settings, "hydra.launcher.within" if is_within else "hydra.launcher")
        self.loader = QuickLoader(hydra_context.config_loader)
        ordinary = HydraContext(self.loader.loader, hydra_context.callbacks)
        self.ordinary = {"hydra_context": ordinary, "task_function": task_function, "config": config}
        self.config = config
        hydra_context.config_loader = self.loader

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Train all jobs."""
        from gradclip.sweep.vectorized import launch

        return launch(self, job_overrides, initial_job_idx)
