"""Conversion of validated settings to YAML and back."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

import yaml

from gradclip.config.base import OwnClass
from gradclip.config.identity import data_digest, fingerprint
from gradclip.config.limits import MAX_DEPTH
from gradclip.config.schema import TrainConfig
from gradclip.config.tracking import TrackingSettings
from gradclip.config.validation import validate_values
from gradclip.errors import ConfigError

YAML_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml, if there, is five times as fast
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_SIZE = 1_000_000  # characters of a stored config; most have about 2,000


def to_yaml(config: TrainConfig) -> str:
    """Return the resolved config as stored with a run."""
    return str(yaml.dump(config.model_dump(by_alias=True), Dumper=YAML_DUMPER, sort_keys=False))


def from_yaml(
    text: str, tracking: TrackingSettings, setting: str, digest: str = "", began_with: str = ""
) -> TrainConfig:
    """Return the settings in a stored config, which is parsed as data because anyone may have written it.

    Args:
        text: YAML from :func:`to_yaml`.
        tracking: replaces the stored tracking settings.
        setting: beginning of error messages, such as the name of a setting.
        digest: digest of the run's table, from :func:`data_digest`; empty if the run has no table.
        began_with: fingerprint of settings with which a command of this user started a run; every class that such
            settings name is trusted.

    Raises:
        ConfigError: the text is not a config, contains an interpolation, names a class that
            ``tracking.trusted_models`` does not allow, or names a table whose content differs from the run's table.
    """
    config = validate_values(TrainConfig, {**_load(text, setting), "tracking": tracking.model_dump()})
    if not (began_with and fingerprint(config) == began_with):
        check_trusted(_classes(config), tracking, "the stored config")
    if data_digest(config) != digest:
        path = getattr(config.data, "path", None)
        raise ConfigError(
            f"{setting}: the table {path} has changed since the run began, or is a different one; start a new run"
        )
    return config


def check_trusted(classes: Iterable[str], tracking: TrackingSettings, what: str) -> None:
    """Refuse classes that ``tracking.trusted_models`` does not allow.

    Args:
        classes: dotted paths.
        tracking: settings that list the trusted classes.
        what: where the classes are named, for errors.

    Raises:
        ConfigError: a class is not trusted; the message names the first such class.
    """
    trusted = tracking.trusted_models
    for one in classes:
        if not any(_matches(one, pattern) for pattern in trusted):
            only = f"only {', '.join(trusted)} are trusted"
            raise ConfigError(f"tracking.trusted_models: {what} names {one!r}; {only}")


def _classes(config: TrainConfig) -> list[str]:
    """Return the dotted paths of all classes that a config names."""
    own_data = config.data if isinstance(config.data, OwnClass) else None
    named = [config.model, config.module, own_data, *config.callbacks.values()]
    return [str(target) for settings in named if (target := getattr(settings, "target", None))]


def _load(text: str, setting: str) -> dict[str, Any]:
    """Return the mapping in a YAML text of plain values.

    The parser's events are checked before anything is built: aliases can grow without bound, deep nesting exhausts the
    stack, tags name types, and an interpolation can be hidden by escapes.
    """
    try:
        reason = "is too long" if len(text) > MAX_SIZE else _find_fault(yaml.parse(text, Loader=YAML_LOADER))
        stored = None if reason else yaml.load(text, Loader=YAML_LOADER)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an invalid date or too long an integer
        raise ConfigError(f"{setting}: the stored config is not YAML") from error
    if reason or not isinstance(stored, dict):
        raise ConfigError(f"{setting}: the stored config {reason or 'is not a mapping'}")
    return stored


def _find_fault(events: Iterator[yaml.Event]) -> str:
    """Return what makes a stored config invalid; an empty string if nothing does."""
    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            return f"is nested more than {MAX_DEPTH} deep"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            return "holds an alias or a tag; settings are stored as plain values"
        if "${" in getattr(event, "value", ""):  # resolving it would read the reader's environment
            return "holds an interpolation, ${...}; settings are stored resolved"
    return ""


def _matches(target: str, pattern: str) -> bool:
    """Return whether a dotted path matches a pattern name by name, so that * cannot reach what a module imports.

    Example:
        >>> _matches("torch.nn.Linear", "torch.nn.*"), _matches("torch.nn.functional.torch.Tensor", "torch.nn.*")
        (True, False)
    """
    names, wanted = target.split("."), pattern.split(".")
    return len(names) == len(wanted) and all(map(fnmatchcase, names, wanted))
