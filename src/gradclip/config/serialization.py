"""Checked settings as plain data: as YAML and back, as text under dotted names, as a fingerprint."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import yaml

from gradclip.config.schema import TrainConfig, has_effect
from gradclip.config.tracking import TrackingSettings
from gradclip.config.validation import check
from gradclip.errors import ConfigError, first_line

YAML_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml, five times as quick where there is one
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_SIZE = 1_000_000  # characters of a stored config; the usual one has 2,000
MAX_DEPTH = 20  # of its mappings and lists


def to_yaml(config: TrainConfig) -> str:
    """The resolved config as it is stored with a run."""
    return str(yaml.dump(config.model_dump(by_alias=True), Dumper=YAML_DUMPER, sort_keys=False))


def from_yaml(text: str, tracking: TrackingSettings, setting: str, digest: str = "") -> TrainConfig:
    """Settings from a stored config, which is data, not a program; anybody may have written it.

    Args:
        text: YAML of :func:`to_yaml`.
        tracking: replaces the tracking settings that were stored.
        setting: the setting that asked for the config, named in errors.
        digest: of the run's table, as :func:`data_digest`; empty where the run names none.

    Raises:
        ConfigError: it is no config, holds an interpolation, names a model that ``tracking.trusted_models`` does not
            allow, or a table with another content than that of the run: one that its author may not have seen.
    """
    config = check(TrainConfig, {**_load(text, setting), "tracking": tracking.model_dump()})
    target = config.model.target
    if not any(_matches(target, pattern) for pattern in tracking.trusted_models):
        trusted = ", ".join(tracking.trusted_models)
        raise ConfigError(f"tracking.trusted_models: the stored config names {target!r}; only {trusted} are trusted")
    if data_digest(config) != digest:
        path = getattr(config.data, "path", None)
        raise ConfigError(f"{setting}: the table {path} has changed since the run began, or is another: train anew")
    return config


def _load(text: str, setting: str) -> dict[str, Any]:
    """The mapping in a YAML text of plain values.

    Each event of the parser is looked at before anything is built: aliases grow without bound, deep nesting exhausts
    the stack, tags name types, and an interpolation may be written with escapes.
    """
    try:
        reason = "is too long" if len(text) > MAX_SIZE else _find_fault(yaml.parse(text, Loader=YAML_LOADER))
        stored = None if reason else yaml.load(text, Loader=YAML_LOADER)
    except (yaml.YAMLError, ValueError) as error:  # dates and integers that Python cannot hold are ValueErrors
        raise ConfigError(f"{setting}: the stored config is not YAML") from error
    if reason or not isinstance(stored, dict):
        raise ConfigError(f"{setting}: the stored config {reason or 'is not a mapping'}")
    return stored


def _find_fault(events: Iterator[yaml.Event]) -> str:
    """What a stored config may not have; empty if it has nothing of it."""
    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            return f"is nested more than {MAX_DEPTH} deep"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            return "holds an alias or a tag; settings are stored as plain values"
        if "${" in getattr(event, "value", ""):  # composed again, it would read the reader's environment
            return "holds an interpolation, ${...}; settings are stored resolved"
    return ""


def _matches(target: str, pattern: str) -> bool:
    """Whether a dotted path matches a pattern name by name, so that * does not lead through what a module imports.

    Example:
        >>> _matches("torch.nn.Linear", "torch.nn.*"), _matches("torch.nn.functional.torch.Tensor", "torch.nn.*")
        (True, False)
    """
    names, wanted = target.split("."), pattern.split(".")
    return len(names) == len(wanted) and all(map(fnmatchcase, names, wanted))


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
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"data.path: got {path!r}; is not a file")
        return _digest_of(path, found.st_mtime_ns, found.st_size)
    except (OSError, ValueError) as error:  # a NUL in a path is a ValueError
        raise ConfigError(f"data.path: got {path!r}; cannot be read: {first_line(error)}") from error


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
