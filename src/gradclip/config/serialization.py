"""Checked settings as plain data: as YAML and back, and as text under dotted names."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import yaml

from gradclip.config.schema import TrainConfig
from gradclip.config.tracking import TrackingSettings
from gradclip.config.validation import check
from gradclip.errors import ConfigError

YAML_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml, five times as quick where there is one


def to_yaml(config: TrainConfig) -> str:
    """The resolved config as it is stored with a run."""
    return str(yaml.dump(config.model_dump(by_alias=True), Dumper=YAML_DUMPER, sort_keys=False))


def from_yaml(text: str, tracking: TrackingSettings, setting: str) -> TrainConfig:
    """Settings from a stored config, which is data, not a program.

    Args:
        text: YAML of :func:`to_yaml`.
        tracking: replaces the tracking settings that were stored.
        setting: the setting that asked for the config, named in errors.

    Raises:
        ConfigError: it is no config, holds an interpolation, or names a model that ``tracking.trusted_models`` does not
            allow.
    """
    try:
        stored = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{setting}: the stored config is not YAML") from error
    if not isinstance(stored, dict):
        raise ConfigError(f"{setting}: the stored config is not a mapping")
    if "${" in text:  # composed again, it would read the reader's environment
        raise ConfigError(
            f"{setting}: the stored config holds an interpolation, ${{...}}; settings are stored resolved"
        )
    config = check(TrainConfig, {**stored, "tracking": tracking.model_dump()})
    target = config.model.target
    if not any(fnmatchcase(target, pattern) for pattern in tracking.trusted_models):
        trusted = ", ".join(tracking.trusted_models)
        raise ConfigError(f"tracking.trusted_models: the stored config names {target!r}; only {trusted} are trusted")
    return config


def flatten(config: TrainConfig) -> dict[str, str]:
    """Every setting as text under its dotted name, as the store keeps it."""
    return dict(_leaves("", config.model_dump(by_alias=True)))


def _leaves(prefix: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", str(value)
