"""Settings of ``conf/clip`` and ``conf/threshold``.

The settings of a clipping method, including their ranges, are derived from the annotated fields of its clipper. Only
the declarations in the clipper's source are executed: an import would load torch and delay the report of an error.
"""

import ast
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import reduce
from math import isfinite
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from pydantic import Field, create_model, model_validator

from gradclip import clipping, ranges
from gradclip.clipping import method_table
from gradclip.config.base import AnyNumber, Count, Pattern, PositiveNumber, Settings
from gradclip.ranges import FIXED, LARGEST, PERCENTILE, POSITIVE, Range

KNOWN_NAMES = vars(ranges) | {  # in the declarations of a clipper
    "Annotated": Annotated,
    "ClassVar": ClassVar,
    "Literal": Literal,
    "dataclass": dataclass,
    "Tensor": float,  # one value for each replica; a config has one number
    "str": Pattern,
}


class ClipMethod(Settings):
    """Settings that every clipping method has: its name and its main threshold, ``value``."""

    name: str
    value: AnyNumber | None

    labelled: ClassVar[tuple[str, ...]] = ("value",)  # settings shown in the label
    limits: ClassVar[Mapping[str, str]] = {}  # as in gradclip.clipping.base.Clipper, like limits_when
    limits_when: ClassVar[Mapping[str, object]] = {}

    @property
    def norms_state(self) -> str:
        """State of the gradients when their first norm is measured, for messages."""
        return "without clipping" if self.name == "none" else "before clipping"

    @property
    def thresholds(self) -> dict[str, float]:
        """Fixed limits that the method sets, keyed by the limited quantity: L2 ``norm`` or ``value``."""
        if any(getattr(self, name) != needed for name, needed in self.limits_when.items()):
            return {}
        return {quantity: getattr(self, name) for quantity, name in self.limits.items()}

    @property
    def label(self) -> str:
        """The method and its thresholds, as in a run's name: ``norm=1.0``."""
        numbers = [getattr(self, name) for name in self.labelled]
        return self.name if None in numbers or not numbers else f"{self.name}={','.join(map(str, numbers))}"


def _read_declarations(method: str, clipper: str) -> type[Any]:
    """Return the dataclass in a method's source file with its fields and constants, but without its methods."""
    path = Path(clipping.__file__).with_name(f"{method}.py")
    module = ast.parse(path.read_text(encoding="utf-8"))
    statement = next(one for one in module.body if isinstance(one, ast.ClassDef) and one.name == clipper)
    statement.bases = []
    statement.body = [one for one in statement.body if isinstance(one, ast.AnnAssign)] or [ast.parse("pass").body[0]]
    module.body = [statement]
    namespace = dict(KNOWN_NAMES)
    exec(compile(module, path, "exec"), namespace)
    declared: type[Any] = namespace[clipper]
    return declared


def _settings_of(method: str, declared: type[Any]) -> type[ClipMethod]:
    """Return the settings class of a method. Its fields have no defaults: those are in the YAML file."""
    types: dict[str, Any] = {field.name: (_bounded(field.type), ...) for field in fields(declared)}
    types["name"] = (Literal.__getitem__(method), ...)
    if "value" in types and not getattr(declared, "may_skip", False):
        types["parameters"] = (Pattern, ...)  # the method can be restricted to some of the parameters
    name = f"{declared.__name__}Clip"
    settings = cast(type[ClipMethod], create_model(name, __base__=ClipMethod, __module__=__name__, **types))
    settings.limits = getattr(declared, "limits", {})
    settings.limits_when = getattr(declared, "limits_when", {})
    settings.labelled = tuple(settings.limits.values()) or (("value",) if "value" in types else ())
    return settings


def _marks(annotation: Any) -> tuple[object, ...]:
    """Return the metadata of an ``Annotated`` type."""
    marks: tuple[object, ...] = getattr(annotation, "__metadata__", ())
    return marks


def _bounded(annotation: Any) -> Any:
    """Return a field's type with its range as pydantic constraints."""
    allowed = next((mark for mark in _marks(annotation) if isinstance(mark, Range)), None)
    if allowed is None:
        return annotation
    high = allowed.high if allowed.infinite else min(allowed.high, LARGEST)
    low = max(allowed.low, -LARGEST)
    ends = {"gt" if allowed.above_low else "ge": low, "lt" if allowed.below_high else "le": high}
    bounds: dict[str, Any] = {name: end for name, end in ends.items() if isfinite(end)}
    return Annotated[annotation.__origin__, Field(**bounds, allow_inf_nan=None if allowed.whole else allowed.infinite)]


def _fits_groups(declared: type[Any]) -> bool:
    """Return whether a method needs nothing but a threshold ``value`` above 0."""
    required = {field.name for field in fields(declared) if field.default is MISSING}
    value = [field for field in fields(declared) if field.name == "value" and field.default is not None]
    return required <= {"value"} and any(POSITIVE in _marks(field.type) for field in value)


DECLARED = {method: _read_declarations(method, clipper) for method, clipper in method_table().items()}
METHODS = [_settings_of(method, declared) for method, declared in DECLARED.items()]
globals().update({settings.__name__: settings for settings in METHODS})  # pickle looks them up here
FIXED_SETTINGS = {
    field.name for declared in DECLARED.values() for field in fields(declared) if FIXED in _marks(field.type)
}
PERCENTILE_METHODS = {  # methods whose threshold is a percentile
    method for method, declared in DECLARED.items() if PERCENTILE in _marks(declared.__annotations__.get("value"))
}


class GroupThreshold(Settings):
    """One group of parameters, given by a pattern for their names, and its threshold."""

    parameters: Pattern
    value: PositiveNumber


if TYPE_CHECKING:
    GroupedMethod = str
else:
    GroupedMethod = Literal[tuple(method for method, declared in DECLARED.items() if _fits_groups(declared))]


class GroupsClip(ClipMethod):
    """A threshold for each group of parameters; ``value`` applies to all other parameters."""

    name: Literal["groups"]
    value: PositiveNumber
    method: GroupedMethod
    groups: list[GroupThreshold]

    @model_validator(mode="after")
    def _patterns_differ(self) -> "GroupsClip":
        patterns = [group.parameters for group in self.groups]
        for pattern in patterns:
            if patterns.count(pattern) > 1:
                raise ValueError(f"groups: got the pattern {pattern!r} twice; each pattern has one threshold")
        return self


class ActivationClip(ClipMethod):
    """Clipping of the derivatives that flow back into the output of each layer, during backward."""

    name: Literal["activation"]
    value: PositiveNumber
    output_value: PositiveNumber
    layers: Pattern

    @property
    def norms_state(self) -> str:
        """State of the gradients when their first norm is measured, for messages."""
        return "with derivatives clipped"


class ConstantThreshold(Settings):
    """A constant threshold."""

    name: Literal["constant"]


class ChangingThreshold(Settings):
    """A threshold multiplied by a factor that goes from ``start`` to ``end`` within ``steps`` steps."""

    name: Literal["linear", "exponential"]
    start: PositiveNumber
    end: PositiveNumber
    steps: Count


if TYPE_CHECKING:
    ClipSettings = ClipMethod
else:
    ClipSettings = reduce(or_, [*METHODS, GroupsClip, ActivationClip])
ThresholdSettings = ConstantThreshold | ChangingThreshold
