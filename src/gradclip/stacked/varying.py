"""Numbers that may differ among the settings of replicas; without torch, since the launcher groups jobs by them."""

from collections.abc import Mapping
from typing import Any

from gradclip.config.clip import FIXED_SETTINGS

SettingPath = tuple[str | int, ...]  # the keys and indices that lead to a setting, such as ("groups", 0, "value")


def flatten_settings(settings: Any, path: SettingPath = ()) -> dict[SettingPath, Any]:
    """Return nested settings as one dictionary, by path.

    Example:
        >>> flatten_settings({"value": 1.0, "groups": [{"value": 2.0}]})
        {('value',): 1.0, ('groups', 0, 'value'): 2.0}
    """
    if isinstance(settings, Mapping):
        items = list(settings.items())
    elif isinstance(settings, list):
        items = list(enumerate(settings))
    else:
        return {path: settings}
    return {inner: value for key, part in items for inner, value in flatten_settings(part, (*path, key)).items()}


def may_vary(path: SettingPath, value: Any) -> bool:
    """Return whether a setting is a number that may differ among stacked replicas."""
    return isinstance(value, int | float) and not isinstance(value, bool) and path[-1] not in FIXED_SETTINGS


def replace_values(settings: Any, values: Mapping[SettingPath, Any], path: SettingPath = ()) -> Any:
    """Return nested settings with some values replaced.

    Args:
        settings: mappings and lists of settings.
        values: the new values, by path.
        path: path of the settings within the whole; empty for the whole.

    Example:
        >>> replace_values({"value": 1.0, "groups": [{"value": 2.0}]}, {("groups", 0, "value"): 3.0})
        {'value': 1.0, 'groups': [{'value': 3.0}]}
    """
    if isinstance(settings, Mapping):
        return {key: replace_values(part, values, (*path, key)) for key, part in settings.items()}
    if isinstance(settings, list):
        return [replace_values(part, values, (*path, index)) for index, part in enumerate(settings)]
    return values.get(path, settings)
