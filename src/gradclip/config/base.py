"""The base class of all settings, and the types that several groups use."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeNumber = Annotated[float, Field(ge=0, allow_inf_nan=False)]
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
