"""Build a clipper from the settings of its method."""

from collections.abc import Mapping, Sequence
from typing import Any

from gradclip.clipping import method_table, methods
from gradclip.clipping.base import Clipper
from gradclip.clipping.groups import Groups
from gradclip.clipping.scheduled import Scheduled

METHODS: dict[str, type[Clipper]] = {name: getattr(methods, clipper) for name, clipper in method_table().items()}
BACKWARD_METHODS = frozenset({"activation"})  # act during backward, not on its result: callbacks/clip_activations.py


def make_clipper(
    name: str, schedule: Mapping[str, Any] | None = None, parameters: str = "*", **settings: Any
) -> Clipper:
    """Build a clipper from its settings.

    Args:
        name: a method of the table, or ``groups``.
        schedule: arguments of :class:`~gradclip.clipping.scheduled.Scheduled`; None keeps the threshold.
        parameters: pattern of the names of the parameters that are clipped.
        settings: the method's own, such as ``value``.

    Returns:
        The method's clipper, inside a :class:`~gradclip.clipping.scheduled.Scheduled` or a
        :class:`~gradclip.clipping.groups.Groups` where the settings ask for one.

    Raises:
        ClippingError: a setting is out of its range.

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
    """One method, with a threshold for each pattern and one for the rest."""
    clippers = {group["parameters"]: make_clipper(method, schedule, value=group["value"]) for group in groups}
    return Groups(clippers, rest=make_clipper(method, schedule, value=value))
