"""The numbers in nested settings: which of them differ among replicas, and how they are put back."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gradclip.config.clip import FIXED_SETTINGS

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Path = tuple[str | int, ...]  # where a number stands, such as ("groups", 0, "value")


def leaves(settings: Any, place: Path = ()) -> dict[Path, Any]:
    """Every setting by its place.

    Example:
        >>> leaves({"value": 1.0, "groups": [{"value": 2.0}]})
        {('value',): 1.0, ('groups', 0, 'value'): 2.0}
    """
    if isinstance(settings, Mapping):
        inner = list(settings.items())
    elif isinstance(settings, list):
        inner = list(enumerate(settings))
    else:
        return {place: settings}
    return {at: value for key, part in inner for at, value in leaves(part, (*place, key)).items()}


def is_stackable(place: Path, value: Any) -> bool:
    """Whether a setting is a number that may differ among replicas."""
    return isinstance(value, int | float) and not isinstance(value, bool) and place[-1] not in FIXED_SETTINGS


def differing(settings: Sequence[Mapping[str, Any]], device: "torch.device") -> "dict[Path, Tensor]":
    """The numbers that differ, ``[replicas]`` each, in float64.

    Example:
        >>> import torch
        >>> differing([{"value": 1.0, "beta": 0.9}, {"value": 5.0, "beta": 0.9}], torch.device("cpu"))
        {('value',): tensor([1., 5.], dtype=torch.float64)}
    """
    import torch  # here, so that jobs are grouped without it

    rows = [leaves(one) for one in settings]
    places = [place for place, value in rows[0].items() if is_stackable(place, value)]
    columns = {place: [row[place] for row in rows] for place in places}
    wide = torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    return {
        place: torch.tensor(column, dtype=wide, device=device)
        for place, column in columns.items()
        if len(set(column)) > 1
    }


def replaced(settings: Any, numbers: Mapping[Path, Any], place: Path = ()) -> Any:
    """The settings with some numbers replaced.

    Example:
        >>> replaced({"value": 1.0, "groups": [{"value": 2.0}]}, {("groups", 0, "value"): 3.0})
        {'value': 1.0, 'groups': [{'value': 3.0}]}
    """
    if isinstance(settings, Mapping):
        return {key: replaced(part, numbers, (*place, key)) for key, part in settings.items()}
    if isinstance(settings, list):
        return [replaced(part, numbers, (*place, index)) for index, part in enumerate(settings)]
    return numbers.get(place, settings)
