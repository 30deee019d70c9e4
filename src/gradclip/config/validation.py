"""Validation of composed configs; an error is one line with the setting, its value and what is allowed."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import ValidationError

from gradclip.config.base import Settings
from gradclip.config.identity import files_in
from gradclip.config.limits import MAX_DEPTH, MAX_NAME, MAX_TEXT
from gradclip.config.overrides import NO_THRESHOLD, setting_of
from gradclip.config.schema import TrainConfig, ignores_threshold, settings_classes
from gradclip.errors import ConfigError, did_you_mean, first_line
from gradclip.formatting import printable

SomeSettings = TypeVar("SomeSettings", bound=Settings)
NAME = re.compile(r"\w[\w.-]*")  # names of parameters that MLflow accepts


def validate(config: DictConfig) -> TrainConfig:
    """Turn the composed config of a training run into validated, frozen settings; a table that it names must exist.

    Raises:
        ConfigError: a setting is invalid; one line names it, its value and what is allowed.
    """
    settings = validate_as(TrainConfig, config)
    path = getattr(settings.data, "path", None)
    if path is not None:
        check_table(path)
    return settings


def check_threshold(config: TrainConfig, overrides: Sequence[str]) -> None:
    """Refuse a threshold typed for a single run that does not clip; a multirun may combine methods and thresholds.

    Raises:
        ConfigError: ``clip.value`` is set, but the method is ``none``.
    """
    typed = "clip.value" in map(setting_of, overrides)
    if typed and ignores_threshold(config.clip.name) and config.clip.value is not None:
        raise ConfigError(f"clip.value: got {config.clip.value}; {NO_THRESHOLD}")


def check_table(path: str) -> None:
    """Refuse the path of a table that does not exist.

    Raises:
        ConfigError: the path is neither a file nor a folder of Parquet files.
    """
    try:
        is_folder = Path(path).is_dir() and any(one.suffix == ".parquet" for one in files_in(path))
        found = is_folder or Path(path).is_file()
    except OSError as error:  # the name is too long, or the folder is not accessible
        raise ConfigError(f"data.path: got {path!r}; {error.strerror}") from error
    if not found:
        raise ConfigError(f"data.path: got {path!r}; there is no such file or folder of Parquet files")


def validate_as(settings: type[SomeSettings], config: DictConfig) -> SomeSettings:
    """Turn a composed config into validated, frozen settings of a class.

    Raises:
        ConfigError: a setting is invalid; one line names it, its value and what is allowed.
    """
    try:
        return validate_values(settings, OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key}: missing; give {error.full_key}=...") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {first_line(error)}") from error


def validate_values(settings: type[SomeSettings], values: object) -> SomeSettings:
    """Turn plain values, by group and name, into validated, frozen settings of a class.

    Raises:
        ConfigError: as for :func:`validate_as`.
    """
    _check_plain("", values)
    try:
        return settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, settings)) from error


def _check_plain(name: str, value: object, depth: int = 0) -> None:
    """Refuse names and texts that no store accepts, and values that are nested too deep to be read."""
    if depth > MAX_DEPTH:
        raise ConfigError(f"{name}: got values nested {depth} deep; at most {MAX_DEPTH} are allowed")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            full_name = f"{name}.{key}".lstrip(".")
            if not NAME.fullmatch(str(key)) or len(full_name) > MAX_NAME:
                allowed = f"letters, digits, _, - and dots, at most {MAX_NAME} characters including its groups"
                raise ConfigError(f"{name or 'settings'}: got the name {str(key)!r}; must consist of {allowed}")
            _check_plain(full_name, inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_plain(name, inner, depth + 1)
    elif isinstance(value, str) and (len(value) > MAX_TEXT or printable(value) != value):
        allowed = f"must have at most {MAX_TEXT} characters, and no control characters"
        raise ConfigError(f"{name}: got {value!r}; {allowed}")


def _explain(error: ValidationError, settings: type[Settings]) -> str:
    """Return pydantic's first error in the form 'name: got value; what is allowed'."""
    first = error.errors()[0]
    name = _dotted_name(first["loc"], settings)
    message = first["msg"].replace("Input should be", "must be").replace("String should", "must")
    message = message.partition(", unable to ")[0]  # pydantic adds "unable to parse ..."
    same = [one for one in error.errors()[1:] if one["loc"][:1] == first["loc"][:1]]
    words = [one["ctx"]["expected"] for one in same if one["type"] == "literal_error"]
    message = " or ".join([message, *words])  # for a setting that takes a number or a word
    match first["type"]:
        case "extra_forbidden":
            others = [known for known in setting_names(settings) if known != name]
            return f"{name}: no such setting{did_you_mean(name, others)}"
        case "missing":
            return f"{name}: missing" if isinstance(first["loc"][-1], int) else f"{name}: missing; add +{name}=..."
        case "value_error":  # from our validators, whose messages begin with the setting's own name
            return ".".join(filter(None, [name, message.removeprefix("Value error, ")]))
        case "union_tag_invalid":
            return f"{name}.name: got {first['ctx']['tag']!r}; choose from {first['ctx']['expected_tags']}"
        case "list_type":
            return f"{name}: got {first['input']!r}; must be a list: {name}=[{first['input'] or '...'}]"
        case _:
            return f"{name}: got {first['input']!r}; {message}"


def _dotted_name(place: tuple[int | str, ...], settings: type[Settings]) -> str:
    """Return the dotted name of a setting, without the branch of the union that pydantic names second."""
    if not place:  # a rule over several groups
        return ""
    group, *inner = place
    field = settings.model_fields.get(str(group))
    branches = settings_classes(field.annotation) if field else []
    if not branches:  # a plain value, or a list: pydantic names the type that it tried
        return ".".join(str(part) for part in (group, *inner) if part == group or isinstance(part, int))
    return ".".join(str(part) for part in (group, *inner[len(branches) > 1 :]))


def setting_names(settings: type[Settings] = TrainConfig) -> list[str]:
    """Return the dotted names of all settings."""
    names = []
    for group, field in settings.model_fields.items():
        members = settings_classes(field.annotation)
        inner = {info.alias or name for member in members for name, info in member.model_fields.items()}
        names += [f"{group}.{name}" for name in sorted(inner)] if members else [group]
    return names
