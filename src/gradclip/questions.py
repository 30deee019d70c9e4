"""The settings of the commands that read the store: of ``conf/compare.yaml`` and ``conf/advise.yaml``."""

from typing import Annotated

from pydantic import Field, NonNegativeInt

from gradclip.settings.base import Settings
from gradclip.settings.tracking import TrackingSettings

Name = Annotated[str, Field(min_length=1)]
FiniteNumber = Annotated[float, Field(allow_inf_nan=False)]


class StoreTracking(TrackingSettings):
    """The store to read from; there has to be one."""

    uri: str


class CompareSettings(Settings):
    """All settings of a comparison."""

    runs: Name | list[Name] | None
    by: list[Name] | None
    metric: Name | None
    target: FiniteNumber | None
    figures: bool
    tracking: StoreTracking


class AdviseSettings(Settings):
    """All settings of a piece of advice."""

    run: Name | None
    probe: bool
    confirm: bool
    seeds: Annotated[int, Field(ge=2)]
    first_seed: NonNegativeInt
    tracking: StoreTracking
