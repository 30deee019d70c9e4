"""Settings of ``conf/clip`` and ``conf/threshold``.

The settings of a clipping method, including their ranges, are derived from the annotated fields of its clipper. The
clipper's source is parsed, not imported: an import would load torch, which reporting an invalid setting does not need.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from math import isfinite
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast, get_args

from pydantic import Field, create_model, model_validator

from gradclip.clipping import arguments, method_table
from gradclip.clipping.arguments import FIXED, POSITIVE, Range
from gradclip.config.base import AnyNumber, Count, Pattern, PositiveNumber, Settings
from gradclip.config.limits import LARGEST

CONSTANTS = ("may_skip", "limits", "limits_when")  # class constants of a clipper that are read too
METHODS_FOLDER = Path(arguments.__file__).parent
KNOWN_NAMES = vars(arguments) | {
    "Annotated": Annotated,
    "Literal": Literal,
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
        return "before clipping"

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


class PartialClip(ClipMethod):
    """A method that can be restricted to some of the parameters."""

    parameters: Pattern


@dataclass(frozen=True)
class Declared:
    """Declarations in a clipper's class.

    Attributes:
        fields: annotations of its fields, by name.
        required: names of the fields without a default.
        constants: class constants that settings depend on, by name.
    """

    fields: dict[str, Any]
    required: set[str]
    constants: dict[str, Any]

    @classmethod
    def read(cls, method: str, clipper: str) -> "Declared":
        """Read the declarations from the source file of a method, given the name of its clipper's class."""
        path = METHODS_FOLDER / f"{method}.py"
        statements = ast.parse(path.read_text(encoding="utf-8")).body
        body = next(one.body for one in statements if isinstance(one, ast.ClassDef) and one.name == clipper)
        declared = cls({}, set(), {})
        for one in body:
            if not (isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)):
                continue
            name = one.target.id
            if not _is_class_variable(one.annotation):
                code = compile(ast.Expression(one.annotation), path, "eval")
                declared.fields[name] = eval(code, KNOWN_NAMES)
                if one.value is None:
                    declared.required.add(name)
            elif name in CONSTANTS and one.value:
                declared.constants[name] = ast.literal_eval(one.value)
        return declared

    @property
    def fits_groups(self) -> bool:
        """Whether the method needs nothing but a threshold ``value`` above 0."""
        value = self.fields.get("value")
        is_optional = type(None) in get_args(getattr(value, "__origin__", None))
        return self.required <= {"value"} and POSITIVE in _marks(value) and not is_optional


def _is_class_variable(annotation: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "ClassVar" for node in ast.walk(annotation))


def _marks(annotation: Any) -> tuple[object, ...]:
    """Return the metadata of an ``Annotated`` type."""
    marks: tuple[object, ...] = getattr(annotation, "__metadata__", ())
    return marks


def _settings_of(method: str, clipper: str, declared: Declared) -> type[ClipMethod]:
    """Return the settings class of a method. Its fields have no defaults: those are in the YAML file."""
    has_value, may_skip = "value" in declared.fields, declared.constants.get("may_skip", False)
    fields: dict[str, Any] = {name: (_bounded(field), ...) for name, field in declared.fields.items()}
    fields["name"] = (Literal.__getitem__(method), ...)
    base = PartialClip if has_value and not may_skip else ClipMethod
    settings = cast(type[ClipMethod], create_model(f"{clipper}Clip", __base__=base, __module__=__name__, **fields))
    settings.limits = declared.constants.get("limits", {})
    settings.limits_when = declared.constants.get("limits_when", {})
    settings.labelled = tuple(settings.limits.values()) or (("value",) if has_value else ())
    return settings


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


DECLARED = {method: Declared.read(method, clipper) for method, clipper in method_table().items()}
METHODS = [_settings_of(method, clipper, DECLARED[method]) for method, clipper in method_table().items()]
globals().update({settings.__name__: settings for settings in METHODS})  # pickle looks them up here
FIXED_SETTINGS = frozenset(
    name for declared in DECLARED.values() for name, field in declared.fields.items() if FIXED in _marks(field)
)


class GroupThreshold(Settings):
    """One group of parameters, given by a pattern for their names, and its threshold."""

    parameters: Pattern
    value: PositiveNumber


if TYPE_CHECKING:
    GroupedMethod = str
else:
    GroupedMethod = Literal[tuple(method for method, declared in DECLARED.items() if declared.fits_groups)]


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
