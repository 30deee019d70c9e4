"""The base class of all settings, and the types that several groups use."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler  # pydantic 2.10 has it only here

from gradclip.config.limits import MAX_INTEGER, MAX_SECONDS, MAX_VALUES
from gradclip.ranges import LARGEST

AnyNumber = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
PositiveNumber = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False)]
NonNegativeNumber = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0, le=MAX_INTEGER)]
Size = Annotated[int, Field(gt=0, le=MAX_VALUES)]  # a count that determines memory use
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # the range that NumPy accepts
Fraction = Annotated[float, Field(gt=0, lt=1)]  # in (0, 1)
FractionOrZero = Annotated[float, Field(ge=0, lt=1)]  # in [0, 1)
Pattern = Annotated[str, Field(min_length=1)]  # for names; * and ? are wildcards


class Settings(BaseModel):
    """Base class of all settings: frozen, and refuses unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @model_validator(mode="wrap")
    @classmethod
    def _numbers_are_no_booleans(cls, values: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        """Refuse true and false for a number: pydantic would read them as 1 and 0."""
        settings = validate(values)
        for name, value in values.items() if isinstance(values, Mapping) else ():
            if name in cls.model_fields and _became_number(value, getattr(settings, name)):
                raise ValueError(f"{name}: got {value}; true and false are not numbers")
        return settings


def _became_number(given: Any, read: Any) -> bool:
    """Return whether a Boolean, also one in a list, was read as a number."""
    if isinstance(given, list) and isinstance(read, Sequence):
        return any(map(_became_number, given, read))
    return isinstance(given, bool) and not isinstance(read, bool)


class NoEffect:
    """Mark of a setting that does not change what a training run computes, such as tracking, figures or threads.

    :func:`gradclip.config.schema.has_effect` reads the mark; fingerprints, run names, groups and comparisons use it.
    """


class OwnClass(BaseModel):
    """A user-defined class: its dotted path, and the arguments of its constructor."""

    model_config = ConfigDict(extra="allow", frozen=True)
    target: Annotated[str, Field(pattern=r"^\w+(\.\w+)+$")] = Field(alias="_target_")

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the constructor by name, which may include one called ``target``."""
        return dict(self.model_extra or {})
