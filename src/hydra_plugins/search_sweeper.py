"""``hydra/sweeper=search``: lets Hydra find the search in :mod:`gradclip.sweep.search`."""

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SearchSweeper(Sweeper):  # type: ignore[misc]  # Hydra is not typed
    """Hydra sweeper that searches ranges of settings, trying each combination over seeds, with any launcher.

    Args:
        settings: the settings in ``conf/hydra/sweeper/search.yaml``.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Create the launcher."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)

    def sweep(self, arguments: Sequence[str]) -> None:
        """Run the search that the overrides describe.

        Raises:
            ConfigError: a range or a setting of the search is invalid, or Optuna is not installed.
        """
        from gradclip.sweep.search.run import run_search

        loader = self.hydra_context.config_loader
        run_search(
            OverridesParser.create(config_loader=loader).parse_overrides(list(arguments)),
            self.settings,
            self.config,
            lambda overrides: loader.load_sweep_config(self.config, list(overrides)),
            self.launcher,
        )
