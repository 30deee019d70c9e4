"""The settings of a run: types, ranges and choices, checked before anything heavy is imported.

Each class mirrors the YAML files of one group under ``conf/``. The values themselves and what they mean stand
there; here stands what is allowed.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveInt,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from gradclip.errors import ConfigError
from gradclip.passwords import REFUSAL, has_password
from gradclip.suggest import did_you_mean

PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeNumber = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Pattern = Annotated[str, Field(min_length=1)]
Scaling = Literal["none", "standard", "minmax"]
Initialization = Literal["he_uniform", "he_normal", "glorot_uniform", "glorot_normal", "lecun_normal", "pytorch"]


class Settings(BaseModel):
    """Base of all settings: frozen, strict about names."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class RegressionData(Settings):
    name: Literal["regression"]
    samples: Annotated[int, Field(ge=4)]
    features: PositiveInt
    noise: NonNegativeNumber
    random_state: NonNegativeInt
    test_fraction: Fraction
    scale_inputs: Scaling
    scale_target: Scaling


class DiabetesData(Settings):
    name: Literal["diabetes"]
    test_fraction: Fraction
    split_seed: NonNegativeInt
    scale_inputs: Scaling
    scale_target: Scaling


def _existing_table(path: str) -> str:
    if Path(path).suffix not in {".csv", ".parquet"}:
        raise PydanticCustomError("table", "must end in .csv or .parquet")
    if not Path(path).is_file():
        raise PydanticCustomError("table", "there is no such file")
    return path


TablePath = Annotated[str, AfterValidator(_existing_table)]
Column = Annotated[str, Field(coerce_numbers_to_str=True)]  # some tables have numbers for names


class TableData(Settings):
    name: Literal["table"]
    path: TablePath
    target: Column
    features: list[Column] | None
    categorical: list[Column]
    test_fraction: Fraction
    split_seed: NonNegativeInt
    scale_inputs: Scaling
    scale_target: Scaling


class SeriesSettings(Settings):
    name: Literal["series"]
    path: TablePath
    target: Column
    time: Column
    features: list[Column] | None
    group: Column | None
    window: PositiveInt
    horizon: PositiveInt
    test_fraction: Fraction
    allow_gaps: bool
    scale_inputs: Scaling
    scale_target: Scaling


class TaskSettings(Settings):
    """Settings that every made task of sequences has."""

    name: str
    length: PositiveInt
    steps_per_epoch: PositiveInt
    train_sequences: PositiveInt | None
    test_sequences: Annotated[int, Field(ge=100, multiple_of=100)]


class NumberTask(TaskSettings):
    name: Literal["adding", "multiplication"]
    solved_at: NonNegativeNumber


class ClassTask(TaskSettings):
    solved_at: Annotated[float, Field(gt=0, le=1)]


class TemporalOrderTask(ClassTask):
    name: Literal["temporal_order"]
    symbols: Literal[2, 3]


class RandomPermutationTask(ClassTask):
    name: Literal["random_permutation"]


class RecallTask(ClassTask):
    name: Literal["noiseless_memorization", "copy"]
    values: Annotated[int, Field(ge=2)]
    positions: PositiveInt


class MLPModel(Settings):
    target: Literal["gradclip.models.mlp.MLP"] = Field(alias="_target_")
    widths: list[PositiveInt]
    activation: Literal["relu", "tanh", "sigmoid", "elu", "gelu", "silu"]
    initialization: Initialization
    output_initialization: Initialization


class CustomModel(BaseModel):
    """Any other network: its class and whatever settings its constructor takes."""

    model_config = ConfigDict(extra="allow", frozen=True)
    target: Annotated[str, Field(pattern=r"^\w+(\.\w+)+$")] = Field(alias="_target_")


class RecurrentModel(Settings):
    """Settings that every recurrent network has."""

    hidden_size: PositiveInt
    layers: PositiveInt
    dropout: Share
    truncation: PositiveInt | None

    @model_validator(mode="after")
    def _dropout_needs_layers(self) -> "RecurrentModel":
        if self.dropout and self.layers == 1:
            raise ValueError(f"dropout: got {self.dropout}; it acts between layers, and model.layers is 1")
        return self


class RNNModel(RecurrentModel):
    target: Literal["gradclip.models.recurrent.RNN"] = Field(alias="_target_")
    nonlinearity: Literal["tanh", "relu"]
    initialization: Literal["sigmoid", "basic_tanh", "smart_tanh", "identity", "pytorch"]
    identity_scale: PositiveNumber
    weight_deviation: PositiveNumber | None


class GatedModel(RecurrentModel):
    target: Literal["gradclip.models.recurrent.LSTM", "gradclip.models.recurrent.GRU"] = Field(alias="_target_")


MODEL_KINDS = {
    "gradclip.models.mlp.MLP": "mlp",
    "gradclip.models.recurrent.RNN": "rnn",
    "gradclip.models.recurrent.LSTM": "gated",
    "gradclip.models.recurrent.GRU": "gated",
}


def _model_kind(model: Any) -> str:
    target = model.get("_target_") if isinstance(model, Mapping) else model.target
    return MODEL_KINDS.get(str(target), "custom")


class PlainLoss(Settings):
    name: Literal["mse", "mae", "cross_entropy"]


class HuberLoss(Settings):
    name: Literal["huber"]
    delta: PositiveNumber


class SGDOptimizer(Settings):
    name: Literal["sgd"]
    lr: PositiveNumber
    momentum: Share
    nesterov: bool
    weight_decay: NonNegativeNumber

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "SGDOptimizer":
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: got True; needs a momentum above 0")
        return self


class AdamOptimizer(Settings):
    name: Literal["adam", "adamw"]
    lr: PositiveNumber
    betas: tuple[Share, Share]
    eps: PositiveNumber
    weight_decay: NonNegativeNumber


class RMSpropOptimizer(Settings):
    name: Literal["rmsprop"]
    lr: PositiveNumber
    alpha: Share
    momentum: Share
    eps: PositiveNumber
    weight_decay: NonNegativeNumber


class ConstantSchedule(Settings):
    name: Literal["constant"]


class WarmupCosineSchedule(Settings):
    name: Literal["warmup_cosine"]
    warmup_fraction: Share
    final_fraction: Annotated[float, Field(ge=0, le=1)]


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


class TrainerSettings(Settings):
    accelerator: Literal["cpu", "gpu", "auto"]
    devices: PositiveInt
    strategy: Literal["auto", "ddp"]
    threads: PositiveInt | None
    max_epochs: PositiveInt
    batch_size: PositiveInt
    precision: Literal["64-true", "32-true", "bf16-mixed", "16-mixed"]
    accumulate_grad_batches: PositiveInt
    steps_after_divergence: NonNegativeInt | None
    stop_when_solved: bool
    progress_bar: bool

    @model_validator(mode="after")
    def _devices_share_a_batch(self) -> "TrainerSettings":
        if self.precision == "16-mixed" and self.accelerator == "cpu":
            raise ValueError("precision: got '16-mixed'; on a processor use '32-true' or 'bf16-mixed'")
        if self.batch_size % self.devices:
            raise ValueError(f"batch_size: got {self.batch_size}; must be a multiple of devices ({self.devices})")
        if self.devices > 1 and self.strategy == "auto":
            raise ValueError(f"devices: got {self.devices}; more than one needs strategy=ddp")
        return self


class TrackingSettings(Settings):
    uri: str | None
    artifacts: str
    experiment: Annotated[str, Field(min_length=1)]
    system_metrics: bool
    checkpoint_seconds: PositiveNumber | None
    retry_seconds: NonNegativeNumber
    spool_if_absent: bool
    trusted_models: list[Pattern]

    @model_validator(mode="after")
    def _no_password(self) -> "TrackingSettings":
        if self.uri is not None and has_password(self.uri):
            raise ValueError(f"uri: {REFUSAL}")
        return self

    @model_validator(mode="after")
    def _no_plain_folder(self) -> "TrackingSettings":
        schemes = ("sqlite://", "postgresql", "mysql", "mssql", "http://", "https://")
        if self.uri is not None and not self.uri.startswith(schemes):
            raise ValueError(f"uri: got {self.uri!r}; must begin with one of {', '.join(schemes)}, or be null")
        return self


DataSettings = (
    RegressionData
    | DiabetesData
    | TableData
    | SeriesSettings
    | NumberTask
    | TemporalOrderTask
    | RandomPermutationTask
    | RecallTask
)
LossSettings = PlainLoss | HuberLoss
OptimizerSettings = SGDOptimizer | AdamOptimizer | RMSpropOptimizer
ScheduleSettings = ConstantSchedule | WarmupCosineSchedule
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
ModelSettings = Annotated[
    Annotated[MLPModel, Tag("mlp")]
    | Annotated[RNNModel, Tag("rnn")]
    | Annotated[GatedModel, Tag("gated")]
    | Annotated[CustomModel, Tag("custom")],
    Discriminator(_model_kind),
]


class TrainConfig(Settings):
    """All settings of one training run."""

    data: Annotated[DataSettings, Discriminator("name")]
    model: ModelSettings
    loss: Annotated[LossSettings, Discriminator("name")]
    optimizer: Annotated[OptimizerSettings, Discriminator("name")]
    schedule: Annotated[ScheduleSettings, Discriminator("name")]
    clip: Annotated[ClipSettings, Discriminator("name")]
    threshold: Annotated[ThresholdSettings, Discriminator("name")]
    trainer: TrainerSettings
    tracking: TrackingSettings
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    log_model: bool
    figures: bool
    resume: Annotated[str | None, Field(exclude=True)] = None
    skip_finished: Annotated[bool, Field(exclude=True)] = False

    @model_validator(mode="after")
    def _a_loss_for_the_target(self) -> "TrainConfig":
        classes = isinstance(self.data, ClassTask)
        if classes != (self.loss.name == "cross_entropy"):
            what = "classes, choose cross_entropy" if classes else "numbers, choose mse, mae or huber"
            raise ValueError(f"loss: got {self.loss.name!r}; the target of data={self.data.name} is {what}")
        return self

    @model_validator(mode="after")
    def _a_mark_to_reach(self) -> "TrainConfig":
        if self.trainer.stop_when_solved and not isinstance(self.data, TaskSettings):
            raise ValueError(f"trainer.stop_when_solved: got True; data={self.data.name} has no solved_at")
        return self

    @model_validator(mode="after")
    def _a_threshold_to_change(self) -> "TrainConfig":
        changes = isinstance(self.threshold, ChangingThreshold)
        if changes and (self.clip.value is None or self.clip.name in {"none", "activation"}):
            raise ValueError(f"threshold: got {self.threshold.name!r}; clip={self.clip.label} has none to change")
        return self

    @model_validator(mode="after")
    def _percentiles_up_to_100(self) -> "TrainConfig":
        if isinstance(self.clip, AutoClip) and isinstance(self.threshold, ChangingThreshold):
            factor = max(self.threshold.start, self.threshold.end)
            if self.clip.value * factor > 100:
                percentile = f"times clip.value={self.clip.value}, a percentile, it must be at most 100"
                raise ValueError(f"threshold: got a factor of {factor}; {percentile}")
        return self


SomeSettings = TypeVar("SomeSettings", bound=Settings)


def validate(config: DictConfig) -> TrainConfig:
    """Turn the composed Hydra config of a training run into checked, frozen settings.

    Raises:
        ConfigError: with the name of the setting, the value received and what is allowed, in one line.
    """
    return validate_as(TrainConfig, config)


def validate_as(settings: type[SomeSettings], config: DictConfig) -> SomeSettings:
    """Turn a composed Hydra config into checked, frozen settings of a class.

    Raises:
        ConfigError: with the name of the setting, the value received and what is allowed, in one line.
    """
    try:
        return check(settings, OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key}: missing; give {error.full_key}=...") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error


def check(settings: type[SomeSettings], values: object) -> SomeSettings:
    """Turn plain values, by group and name, into checked, frozen settings of a class.

    Raises:
        ConfigError: as :func:`validate_as`.
    """
    try:
        return settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, settings)) from error


def _explain(error: ValidationError, settings: type[Settings]) -> str:
    """The first complaint of pydantic in the form 'name: got value; what is allowed'."""
    first = error.errors()[0]
    name, message = _dotted_name(first["loc"], settings), first["msg"].replace("Input should be", "must be")
    message = message.partition(", unable to ")[0]  # read it, says pydantic
    match first["type"]:
        case "extra_forbidden":
            others = [known for known in setting_names(settings) if known != name]
            return f"{name}: no such setting{did_you_mean(name, others)}"
        case "missing":
            return f"{name}: missing" if isinstance(first["loc"][-1], int) else f"{name}: missing; add +{name}=..."
        case "value_error":  # written by a validator of ours, which begins with the setting's own name
            return ".".join(filter(None, [name, message.removeprefix("Value error, ")]))
        case "union_tag_invalid":
            return f"{name}.name: got {first['ctx']['tag']!r}; choose from {first['ctx']['expected_tags']}"
        case _:
            return f"{name}: got {first['input']!r}; {message}"


def _dotted_name(place: tuple[int | str, ...], settings: type[Settings]) -> str:
    """Where a setting stands, without the branch of the union that pydantic names second."""
    if not place:  # a rule over several groups
        return ""
    group, *inner = place
    field = settings.model_fields.get(str(group))
    branches = _settings_classes(field.annotation) if inner and field else []
    return ".".join(str(part) for part in (group, *inner[len(branches) > 1 :]))


def setting_names(settings: type[Settings] = TrainConfig) -> list[str]:
    """Every setting there is, by its dotted name."""
    names = []
    for group, field in settings.model_fields.items():
        members = _settings_classes(field.annotation)
        inner = {info.alias or name for member in members for name, info in member.model_fields.items()}
        names += [f"{group}.{name}" for name in sorted(inner)] if members else [group]
    return names


def _settings_classes(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [member for part in getattr(annotation, "__args__", ()) for member in _settings_classes(part)]


def fingerprint(config: TrainConfig) -> str:
    """A short hash of all settings that change the training: runs that share it are the same run.

    What is stored, drawn and shown does not count.
    """
    incidental: Any = {"tracking": True, "log_model": True, "figures": True, "trainer": {"progress_bar"}}
    settings = config.model_dump(mode="json", by_alias=True, exclude=incidental)
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def flatten(config: TrainConfig) -> dict[str, str]:
    """Every setting as text under its dotted name, as the store keeps it."""
    return dict(_leaves("", config.model_dump(by_alias=True)))


def _leaves(prefix: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", str(value)
