"""Settings of ``conf/clip`` and ``conf/threshold``, derived from the annotated fields of the clippers.

Those of a clipping method are derived from the annotated fields of its clipper, ranges included. The clipper's source
is read rather than imported, because an import would load torch, and a wrong setting is answered without it.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from math import isfinite
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast, get_args

from pydantic import Field, create_model

from gradclip.clipping import arguments, method_table
from gradclip.clipping.arguments import FIXED, POSITIVE, Range
from gradclip.config.base import AnyNumber, Count, Pattern, PositiveNumber, Settings
from gradclip.config.limits import LARGEST

CONSTANTS = ("may_skip", "limits", "limits_when")  # what else of a clipper's class is read
METHODS_FOLDER = Path(arguments.__file__).parent
KNOWN_NAMES = vars(arguments) | {
    "Annotated": Annotated,
    "Literal": Literal,
    "Tensor": float,  # of many replicas; a config has one number
    "str": Pattern,
}


class ClipMethod(Settings):
    """Settings that every clipping method has: its name and its main threshold, ``value``."""

    name: str
    value: AnyNumber | None

    labelled: ClassVar[tuple[str, ...]] = ("value",)  # the settings in the label
    limits: ClassVar[Mapping[str, str]] = {}  # as of gradclip.clipping.base.Clipper, like the next
    limits_when: ClassVar[Mapping[str, object]] = {}

    @property
    def norms_state(self) -> str:
        """What was done to the gradients before the first of their norms is taken."""
        return "before clipping"

    @property
    def thresholds(self) -> dict[str, float]:
        """The fixed limits that the method sets, by the quantity they limit: L2 ``norm`` or ``value``."""
        if any(getattr(self, name) != needed for name, needed in self.limits_when.items()):
            return {}
        return {quantity: getattr(self, name) for quantity, name in self.limits.items()}

    @property
    def label(self) -> str:
        """The method and its thresholds, as in a run's name: ``norm=1.0``."""
        numbers = [getattr(self, name) for name in self.labelled]
        return self.name if None in numbers or not numbers else f"{self.name}={','.join(map(str, numbers))}"


class PartialClip(ClipMethod):
    """A method that can be limited to some of the parameters."""

    parameters: Pattern


@dataclass(frozen=True)
class Declared:
    """What a clipper's class declares.

    Attributes:
        fields: the annotations of its fields.
        required: the fields that have no default.
        constants: those of its constants that settings depend on, by name.
    """

    fields: dict[str, Any]
    required: set[str]
    constants: dict[str, Any]

    @classmethod
    def read(cls, method: str, clipper: str) -> "Declared":
        """Read the source of a method's clipper, a class of that name."""
        path = METHODS_FOLDER / f"{method}.py"
        statements = ast.parse(path.read_text(encoding="utf-8")).body
        body = next(one.body for one in statements if isinstance(one, ast.ClassDef) and one.name == clipper)
        annotated = [one for one in body if isinstance(one, ast.AnnAssign)]
        found = {one.target.id: one for one in annotated if isinstance(one.target, ast.Name)}
        fields = {name: one for name, one in found.items() if not _is_class_variable(one.annotation)}
        codes = {name: compile(ast.Expression(one.annotation), path, "eval") for name, one in fields.items()}
        return cls(
            {name: eval(code, KNOWN_NAMES) for name, code in codes.items()},
            {name for name, one in fields.items() if one.value is None},
            {name: ast.literal_eval(one.value) for name, one in found.items() if name in CONSTANTS and one.value},
        )

    @property
    def fits_groups(self) -> bool:
        """Whether a threshold above 0, ``value``, is all that the method needs."""
        value = self.fields.get("value")
        is_optional = type(None) in get_args(getattr(value, "__origin__", None))
        return self.required <= {"value"} and POSITIVE in _marks(value) and not is_optional


def _is_class_variable(annotation: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "ClassVar" for node in ast.walk(annotation))


def _marks(annotation: Any) -> tuple[object, ...]:
    """What stands beside the type in an annotation."""
    marks: tuple[object, ...] = getattr(annotation, "__metadata__", ())
    return marks


def _settings_of(method: str, clipper: str, declared: Declared) -> type[ClipMethod]:
    """The settings of a method. None has a default: that is in the YAML file."""
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
    """A field's type, with its range as pydantic understands it."""
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
globals().update({settings.__name__: settings for settings in METHODS})  # where pickle looks for them
FIXED_SETTINGS = frozenset(
    name for declared in DECLARED.values() for name, field in declared.fields.items() if FIXED in _marks(field)
)


class GroupThreshold(Settings):
    """One group of parameters, by a pattern of their names, and its threshold."""

    parameters: Pattern
    value: PositiveNumber


if TYPE_CHECKING:
    GroupedMethod = str
else:
    GroupedMethod = Literal[tuple(method for method, declared in DECLARED.items() if declared.fits_groups)]


class GroupsClip(ClipMethod):
    """A threshold for each group of parameters; ``value`` is that of all others."""

    name: Literal["groups"]
    value: PositiveNumber
    method: GroupedMethod
    groups: list[GroupThreshold]


class ActivationClip(ClipMethod):
    """Clipping of the derivatives that flow back into the output of each layer, during backward."""

    name: Literal["activation"]
    value: PositiveNumber
    output_value: PositiveNumber
    layers: Pattern

    @property
    def norms_state(self) -> str:
        """What was done to the gradients before the first of their norms is taken."""
        return "with derivatives clipped"


class ConstantThreshold(Settings):
    """A threshold that stays as it is."""

    name: Literal["constant"]


class ChangingThreshold(Settings):
    """A threshold times a factor that goes from ``start`` to ``end`` within some steps."""

    name: Literal["linear", "exponential"]
    start: PositiveNumber
    end: PositiveNumber
    steps: Count


if TYPE_CHECKING:
    ClipSettings = ClipMethod
else:
    ClipSettings = reduce(or_, [*METHODS, GroupsClip, ActivationClip])
ThresholdSettings = ConstantThreshold | ChangingThreshold
