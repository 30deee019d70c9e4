"""Construction of clippers from settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from gradclip.clipping import method_table, methods
from gradclip.clipping.base import Clipper
from gradclip.clipping.groups import Groups
from gradclip.clipping.scheduled import Scheduled

METHODS: dict[str, type[Clipper]] = {name: getattr(methods, clipper) for name, clipper in method_table().items()}
BACKWARD_METHODS = frozenset({"activation"})  # clip during backward, not after it: callbacks/clip_activations.py


def make_clipper(
    name: str, schedule: Mapping[str, Any] | None = None, parameters: str = "*", **settings: Any
) -> Clipper:
    """Build a clipper from its settings.

    Args:
        name: a method of the table, or ``groups``.
        schedule: arguments of :class:`~gradclip.clipping.scheduled.Scheduled`; None keeps the threshold constant.
        parameters: name pattern of the parameters to clip.
        settings: settings of the method, such as ``value``.

    Returns:
        The method's clipper, inside a :class:`~gradclip.clipping.scheduled.Scheduled` or a
        :class:`~gradclip.clipping.groups.Groups` if the settings require one.

    Raises:
        ClippingError: a setting is out of range.

    Example:
        >>> make_clipper("norm", value=1.0)
        Norm(value=1.0, order=2.0)
    """
    if name == "groups":
        return _make_groups(schedule, **settings)
    clipper = METHODS[name](**settings)
    if schedule is not None:
        clipper = Scheduled(clipper, **schedule)
    return clipper if parameters == "*" else Groups({parameters: clipper})


def _make_groups(
    schedule: Mapping[str, Any] | None, method: str, value: float, groups: Sequence[Mapping[str, Any]]
) -> Clipper:
    """Return clippers of one method, with a threshold for each pattern and one for the rest."""
    clippers = {group["parameters"]: make_clipper(method, schedule, value=group["value"]) for group in groups}
    return Groups(clippers, rest=make_clipper(method, schedule, value=value))
