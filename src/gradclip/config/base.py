"""What all settings have in common, and the ranges that many share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeNumber = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Pattern = Annotated[str, Field(min_length=1)]


class Settings(BaseModel):
    """Base of all settings: frozen, strict about names."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class NoEffect:
    """Marks a setting that does not change what a training computes: where it is stored, drawn and shown, and threads.

    :func:`gradclip.config.schema.has_effect` reads the mark; fingerprints, run names, groups and comparisons follow it.
    """
