"""Settings of the options under ``conf/clip`` and ``conf/threshold``."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from gradclip.config.base import Pattern, PositiveNumber, Settings, Share


class ClipMethod(Settings):
    """Settings that every clipping method has: its name and its main threshold, ``value``."""

    name: str
    value: float | None

    @property
    def norms_state(self) -> str:
        """What had been done to the gradients whose norms are told first."""
        return "before clipping"

    @property
    def thresholds(self) -> dict[str, float]:
        """The fixed limits that the method sets, by the quantity they limit: L2 ``norm`` or ``value``."""
        return {}

    @property
    def label(self) -> str:
        """The method and its threshold, as in a run's name: ``norm=1.0``."""
        return f"{self.name}={self.value}"


class NoClip(ClipMethod):
    name: Literal["none"]

    @property
    def label(self) -> str:
        return self.name


class GradientClip(ClipMethod):
    """A method that can be held to some of the parameters."""

    parameters: Pattern


class NormClip(GradientClip):
    name: Literal["norm"]
    value: PositiveNumber
    order: Annotated[float, Field(ge=1)]

    @property
    def thresholds(self) -> dict[str, float]:
        return {"norm": self.value} if self.order == 2 and self.parameters == "*" else {}


class ValueClip(GradientClip):
    name: Literal["value"]
    value: PositiveNumber
    lower: Annotated[float, Field(le=0, allow_inf_nan=False)] | None

    @property
    def thresholds(self) -> dict[str, float]:
        return {"value": self.value}


class NormValueClip(GradientClip):
    name: Literal["norm_value"]
    norm: PositiveNumber
    value: PositiveNumber

    @property
    def thresholds(self) -> dict[str, float]:
        return {"norm": self.norm, "value": self.value}

    @property
    def label(self) -> str:
        return f"{self.name}={self.norm},{self.value}"


class NormalizeClip(GradientClip):
    name: Literal["normalize"]
    value: PositiveNumber

    @property
    def thresholds(self) -> dict[str, float]:
        return {"norm": self.value} if self.parameters == "*" else {}


class ParameterNormClip(GradientClip):
    name: Literal["parameter_norm"]
    value: PositiveNumber


class GroupThreshold(Settings):
    parameters: Pattern
    value: PositiveNumber


class GroupsClip(ClipMethod):
    name: Literal["groups"]
    value: PositiveNumber
    method: Literal["norm", "value", "parameter_norm", "normalize", "adaptive", "zscore", "parameter_ema"]
    groups: list[GroupThreshold]


class ActivationClip(ClipMethod):
    name: Literal["activation"]
    value: PositiveNumber
    output_value: PositiveNumber
    layers: Pattern

    @property
    def norms_state(self) -> str:
        return "with derivatives clipped"


class AdaptiveClip(GradientClip):
    name: Literal["adaptive"]
    value: PositiveNumber
    eps: PositiveNumber
    exclude: Pattern | None


class AutoClip(GradientClip):
    name: Literal["auto"]
    value: Annotated[float, Field(gt=0, le=100)]
    history: Annotated[int, Field(ge=1, le=1_000_000)]


class ZScoreClip(GradientClip):
    name: Literal["zscore"]
    value: PositiveNumber
    alpha: Share
    warmup: PositiveInt
    warmup_norm: PositiveNumber | None
    eps: PositiveNumber


class ParameterEMAClip(GradientClip):
    name: Literal["parameter_ema"]
    value: PositiveNumber
    beta: Share
    warmup: PositiveInt
    warmup_norm: PositiveNumber


class SkipClip(ClipMethod):
    name: Literal["skip"]
    value: PositiveNumber | None
    patience: PositiveInt

    @property
    def label(self) -> str:
        return self.name if self.value is None else super().label


class ConstantThreshold(Settings):
    name: Literal["constant"]


class ChangingThreshold(Settings):
    name: Literal["linear", "exponential"]
    start: PositiveNumber
    end: PositiveNumber
    steps: PositiveInt


ClipSettings = (
    NoClip
    | NormClip
    | ValueClip
    | NormValueClip
    | ParameterNormClip
    | NormalizeClip
    | GroupsClip
    | ActivationClip
    | AdaptiveClip
    | AutoClip
    | ZScoreClip
    | ParameterEMAClip
    | SkipClip
)
ThresholdSettings = ConstantThreshold | ChangingThreshold
