"""Composition of settings from overrides without Hydra's command line, and the reverse: overrides from settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gradclip.config.base import OwnClass
from gradclip.config.help import config_options
from gradclip.config.model import MODEL_KINDS
from gradclip.config.overrides import OWN_GROUPS, as_typed, for_hydra
from gradclip.config.paths import CONFIG_FOLDER, register_resolvers
from gradclip.config.schema import TrainConfig, has_effect, ignores_threshold, leaves
from gradclip.config.validation import validate
from gradclip.errors import ConfigError, first_line
from gradclip.quoting import override_value

GROUPS_AFTER_DATA = ("model", "loss", "optimizer", "schedule", "clip", "threshold")  # data chooses model and loss
WITHOUT_DEFAULT = ("path", "target", "time")  # required settings of data in files


def compose_config(overrides: Sequence[str]) -> TrainConfig:
    """Compose and validate settings from overrides; without an override for tracking, nothing is tracked.

    Raises:
        ConfigError: the overrides do not compose, or a setting is invalid.
    """
    try:
        return validate(_compose(["tracking=none", *overrides]))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"{' '.join(overrides)}: cannot be composed: {first_line(error)}") from error


def compose_run(overrides: Sequence[str]) -> tuple[TrainConfig, Path]:
    """Compose and validate the settings of a run as the command ``train`` does; return them and the run's folder.

    Raises:
        HydraException: the overrides do not compose.
        ConfigError: a setting is invalid.
    """
    config = _compose(overrides, return_hydra_config=True)
    folder = Path(config.hydra.run.dir).absolute()
    return validate(without_hydra(config)), folder


def without_hydra(config: DictConfig) -> DictConfig:
    """Return a composed config without Hydra's own part."""
    own: DictConfig = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    return own


def _compose(overrides: Sequence[str], **settings: bool) -> DictConfig:
    """Compose the settings of a training run without changing Hydra's state in the running program or notebook."""
    register_resolvers()
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
            config: DictConfig = compose("train", for_hydra(overrides), **settings)
            return config
    finally:
        GlobalHydra.instance().hydra = running


def overrides_of(config: TrainConfig) -> list[str]:
    """Return overrides that reproduce the settings of a run, except its seed and settings without effect.

    Options of groups come first, then the values that differ from those of the options.

    Raises:
        ConfigError: the current configs cannot produce these settings.

    Example:
        >>> overrides_of(compose_config(["clip=norm", "clip.value=2", "seed=3", "figures=false"]))
        ['clip=norm', 'clip.value=2.0']
    """
    own = {group: getattr(config, group) for group in OWN_GROUPS}
    choices = [f"{group}._target_={one.target}" for group, one in own.items() if isinstance(one, OwnClass)]
    composed = compose_config(choices)
    choices += _changed_options(config, composed, ("data",))
    if hasattr(config.data, "path"):
        required = {name: getattr(config.data, name) for name in WITHOUT_DEFAULT if hasattr(config.data, name)}
        choices += [f"data.{name}={override_value(value)}" for name, value in required.items()]
    choices += _changed_options(config, compose_config(choices), GROUPS_AFTER_DATA) + _prepared_callbacks(config)
    wanted, given = _effective(config), _effective(compose_config(choices))
    values = [
        f"{'' if name in given or '.' not in name else '+'}{name}={override_value(value)}"
        for name, value in wanted.items()
        if name not in given or given[name] != value
    ]
    removed = [f"~{name}" for name in given if name not in wanted]
    overrides = as_typed([*choices, *values, *removed])
    if _effective(compose_config(overrides)) != wanted:
        raise ConfigError("run: its settings cannot be composed from the current configs")
    return overrides


def _option(config: TrainConfig, group: str) -> str:
    """Return the option of a group that a run used, or one to start from."""
    if group != "model":
        return str(getattr(config, group).name)
    target = config.model.target if config.model else ""
    return target.rpartition(".")[2].lower() if target in MODEL_KINDS else "mlp"


def _changed_options(config: TrainConfig, composed: TrainConfig, groups: Sequence[str]) -> list[str]:
    """Return overrides that choose the options of groups where they differ from those of a composed config."""
    options = {group: _option(config, group) for group in groups if getattr(config, group)}  # a module replaces some
    return [f"{group}={option}" for group, option in options.items() if option != _option(composed, group)]


def _prepared_callbacks(config: TrainConfig) -> list[str]:
    """Return the override that adds the callbacks that are named like options."""
    names = [name for name in config.callbacks if name in config_options("callbacks")]
    added = f"[{','.join(names)}]" if len(names) > 1 else "".join(names)
    return [f"+callbacks={added}"] if added else []


def _effective(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that have an effect on the training run, except the seed, by dotted name."""
    ignored = {"seed", "clip.value"} if ignores_threshold(config.clip.name) else {"seed"}
    return {name: value for name, value in leaves(config) if has_effect(name) and name not in ignored}
