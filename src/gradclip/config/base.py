"""The base class of all settings, and the types that several groups use."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from gradclip.config.limits import LARGEST, MAX_INTEGER, MAX_SECONDS, MAX_VALUES

AnyNumber = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
PositiveNumber = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False)]
NonNegativeNumber = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0, le=MAX_INTEGER)]
Size = Annotated[int, Field(gt=0, le=MAX_VALUES)]  # of something that takes memory
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what NumPy takes
Fraction = Annotated[float, Field(gt=0, lt=1)]  # in (0, 1)
Share = Annotated[float, Field(ge=0, lt=1)]  # in [0, 1)
Pattern = Annotated[str, Field(min_length=1)]  # of names, with the wildcards * and ?


class Settings(BaseModel):
    """Base of all settings: frozen, and refuses unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class NoEffect:
    """Marks a setting that does not change what a training computes: where it is stored, drawn and shown, and threads.

    :func:`gradclip.config.schema.has_effect` reads the mark; fingerprints, run names, groups and comparisons follow it.
    """


class OwnClass(BaseModel):
    """A class of the user: its dotted path, and the arguments of its constructor."""

    model_config = ConfigDict(extra="allow", frozen=True)
    target: Annotated[str, Field(pattern=r"^\w+(\.\w+)+$")] = Field(alias="_target_")

    @property
    def arguments(self) -> dict[str, Any]:
        """By name; one may be called ``target`` too."""
        return dict(self.model_extra or {})
