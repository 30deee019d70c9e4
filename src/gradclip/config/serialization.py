"""Checked settings as YAML, and back."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

import yaml

from gradclip.config.base import OwnClass
from gradclip.config.identity import data_digest, fingerprint
from gradclip.config.limits import MAX_DEPTH
from gradclip.config.schema import TrainConfig
from gradclip.config.tracking import TrackingSettings
from gradclip.config.validation import check
from gradclip.errors import ConfigError

YAML_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml, five times as quick where there is one
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_SIZE = 1_000_000  # characters of a stored config; the usual one has 2,000


def to_yaml(config: TrainConfig) -> str:
    """The resolved config as it is stored with a run."""
    return str(yaml.dump(config.model_dump(by_alias=True), Dumper=YAML_DUMPER, sort_keys=False))


def from_yaml(
    text: str, tracking: TrackingSettings, setting: str, digest: str = "", began_with: str = ""
) -> TrainConfig:
    """Settings from a stored config, which is data, not a program; anybody may have written it.

    Args:
        text: YAML of :func:`to_yaml`.
        tracking: replaces the tracking settings that were stored.
        setting: the setting that asked for the config, named in errors.
        digest: of the run's table, as :func:`data_digest`; empty where the run names none.
        began_with: the fingerprint of settings that a command of this user began a run with: of those every class is
            trusted.

    Raises:
        ConfigError: it is no config, holds an interpolation, names a class that ``tracking.trusted_models`` does not
            allow, or a table with another content than that of the run: one that its author may not have seen.
    """
    config = check(TrainConfig, {**_load(text, setting), "tracking": tracking.model_dump()})
    if not (began_with and fingerprint(config) == began_with):
        check_trusted(_classes(config), tracking, "the stored config")
    if data_digest(config) != digest:
        path = getattr(config.data, "path", None)
        raise ConfigError(f"{setting}: the table {path} has changed since the run began, or is another: train anew")
    return config


def check_trusted(classes: Iterable[str], tracking: TrackingSettings, what: str) -> None:
    """Refuse classes that ``tracking.trusted_models`` does not allow.

    Args:
        classes: dotted paths.
        tracking: says which are trusted.
        what: names them, in words.

    Raises:
        ConfigError: with the first that is not trusted.
    """
    trusted = tracking.trusted_models
    for one in classes:
        if not any(_matches(one, pattern) for pattern in trusted):
            only = f"only {', '.join(trusted)} are trusted"
            raise ConfigError(f"tracking.trusted_models: {what} names {one!r}; {only}")


def _classes(config: TrainConfig) -> list[str]:
    """The dotted paths of all classes that a config names."""
    own_data = config.data if isinstance(config.data, OwnClass) else None
    named = [config.model, config.module, own_data, *config.callbacks.values()]
    return [str(target) for settings in named if (target := getattr(settings, "target", None))]


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
