"""Fast composition of the configs of many jobs.

Hydra takes a tenth of a second to compose a config, and does so twice for each job. Most jobs of a multirun differ
only in values. Therefore a config is composed once for each choice of options, and each job sets its values in it. A
copy for each job would double the time: OmegaConf takes 1 ms to copy a config, and pickle 0.2 ms to read one.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from gradclip.config.composition import without_hydra

Names = tuple[str, ...]
SETTING = re.compile(r"^(?!hydra\.)[A-Za-z_]\w*(\.\w+)+=|^seed=")  # matches overrides of values
CHANGING = re.compile(r"\$\{(?!(oc\.env|project_root|default_store):)")  # may change from job to job


class QuickLoader:
    """Config loader for multiruns that falls back to Hydra's own loader, also for all errors.

    Jobs of one kind share a read-only config; see :meth:`load_sweep_config`.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self._shared: dict[tuple[Names, Names], DictConfig] = {}  # by choices and names of values

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: Sequence[str]) -> DictConfig:
        """Return the config of a job, without Hydra's part, to be read immediately.

        The config is read-only and valid until the next config is loaded, because jobs of the same kind get the same
        object with other values. :func:`gradclip.config.validation.validate` converts it to settings of the job.

        Raises:
            ConfigCompositionException: an override does not fit.
        """
        values = dict(_parse(override) for override in sweep_overrides if SETTING.match(override))
        if any(isinstance(value, dict) for value in values.values()):  # would be merged with the previous value
            return self._compose(master_config, sweep_overrides)
        choices = tuple(override for override in sweep_overrides if not SETTING.match(override))
        kind = choices, tuple(values)
        if kind not in self._shared:
            self._shared[kind] = self._compose_shared(master_config, choices)
        shared = self._shared[kind]
        try:
            with read_write(shared):
                for name, value in values.items():
                    OmegaConf.update(shared, name, value)
        except OmegaConfBaseException:
            return self._compose(master_config, sweep_overrides)
        return shared

    def _compose_shared(self, master_config: DictConfig, choices: Names) -> DictConfig:
        """Compose a config without the values of any job."""
        shared = self._compose(master_config, choices)
        OmegaConf.set_struct(shared, True)
        if not CHANGING.search(OmegaConf.to_yaml(shared)):
            OmegaConf.resolve(shared)  # once for all jobs: the slowest part
        OmegaConf.set_readonly(shared, True)
        return shared

    def _compose(self, master_config: DictConfig, overrides: Sequence[str]) -> DictConfig:
        return without_hydra(self.loader.load_sweep_config(master_config, [*overrides]))


@cache
def _parse(override: str) -> tuple[str, Any]:
    parsed = OverridesParser.create().parse_override(override)
    return parsed.key_or_group, parsed.value()
