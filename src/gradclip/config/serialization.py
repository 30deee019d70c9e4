"""Checked settings as plain data: as YAML and back, as text under dotted names, as a fingerprint."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import yaml

from gradclip.config.schema import TrainConfig, has_effect
from gradclip.config.tracking import TrackingSettings
from gradclip.config.validation import check
from gradclip.errors import ConfigError

YAML_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml, five times as quick where there is one


class PlainLoader(yaml.SafeLoader):
    """YAML without aliases, by which a few lines can stand for billions of values."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("has an alias")
        return super().compose_node(parent, index)


def to_yaml(config: TrainConfig) -> str:
    """The resolved config as it is stored with a run."""
    return str(yaml.dump(config.model_dump(by_alias=True), Dumper=YAML_DUMPER, sort_keys=False))


def from_yaml(text: str | bytes, tracking: TrackingSettings, setting: str) -> TrainConfig:
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
        stored = yaml.load(text, PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # endless digits; nested without an end
        raise ConfigError(f"{setting}: the stored config is not YAML") from error
    if not isinstance(stored, dict):
        raise ConfigError(f"{setting}: the stored config is not a mapping")
    if "${" in str(text):  # composed again, it would read the reader's environment
        raise ConfigError(
            f"{setting}: the stored config holds an interpolation, ${{...}}; settings are stored resolved"
        )
    config = check(TrainConfig, {**stored, "tracking": tracking.model_dump()})
    target = config.model.target
    if not any(fnmatchcase(target, pattern) for pattern in tracking.trusted_models):
        trusted = ", ".join(tracking.trusted_models)
        raise ConfigError(f"tracking.trusted_models: the stored config names {target!r}; only {trusted} are trusted")
    return config


def fingerprint(config: TrainConfig) -> str:
    """A short hash of all that changes what the training computes: runs that share it are the same run.

    Of a table in a file the content counts, not its path.

    Raises:
        ConfigError: the table cannot be read.
    """
    settings = {name: value for name, value in flatten(config).items() if has_effect(name)}
    settings |= {"data.path": digest} if (digest := data_digest(config)) else {}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def data_digest(config: TrainConfig) -> str:
    """The SHA-256 of the file that a run reads its table from; empty for data that are generated.

    Raises:
        ConfigError: it cannot be read.
    """
    path = getattr(config.data, "path", None)
    if path is None:
        return ""
    try:
        found = os.stat(path)
        return _digest_of(path, found.st_mtime_ns, found.st_size)
    except OSError as error:
        raise ConfigError(f"data.path: got {path!r}; cannot be read: {error.strerror or error}") from error


@cache  # hundreds of jobs read the same file
def _digest_of(path: str, _modified: int, _size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flatten(config: TrainConfig) -> dict[str, str]:
    """Every setting as text under its dotted name, as the store keeps it."""
    return dict(_leaves("", config.model_dump(by_alias=True)))


def _leaves(prefix: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", str(value)
