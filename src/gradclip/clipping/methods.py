"""The table of clipping methods: ``clip=<name>`` and what builds its clipper."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gradclip.clipping.adaptive import Adaptive
from gradclip.clipping.auto import Auto
from gradclip.clipping.base import Clipper
from gradclip.clipping.groups import Groups
from gradclip.clipping.none import Identity
from gradclip.clipping.norm import Norm
from gradclip.clipping.norm_value import NormValue
from gradclip.clipping.normalize import Normalize
from gradclip.clipping.parameter_ema import ParameterEMA
from gradclip.clipping.parameter_norm import ParameterNorm
from gradclip.clipping.scheduled import Scheduled
from gradclip.clipping.skip import Skip
from gradclip.clipping.value import Value
from gradclip.clipping.zscore import ZScore

METHODS: dict[str, Callable[..., Clipper]] = {
    "none": Identity,
    "norm": Norm,
    "value": Value,
    "norm_value": NormValue,
    "parameter_norm": ParameterNorm,
    "normalize": Normalize,
    "adaptive": Adaptive,
    "auto": Auto,
    "zscore": ZScore,
    "parameter_ema": ParameterEMA,
    "skip": Skip,
}
BACKWARD_METHODS = frozenset({"activation"})  # act during backward, not on its result: callbacks/clip_activations.py


def make_clipper(
    name: str, schedule: Mapping[str, Any] | None = None, parameters: str = "*", **settings: Any
) -> Clipper:
    """Build a clipper from its settings.

    Args:
        name: a method of the table, or ``groups``.
        schedule: arguments of :class:`~gradclip.clipping.scheduled.Scheduled`; None keeps the threshold.
        parameters: pattern of the names of the parameters that are clipped.
        settings: the method's own.

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
