"""The settings of each command, and the rules that span groups: which values are allowed, not where they come from."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, Discriminator, Field, model_validator

from gradclip.config.base import AnyNumber, NoEffect, OwnClass, Pattern, PositiveNumber, Seed, Settings
from gradclip.config.clip import PERCENTILE_METHODS, ChangingThreshold, ClipSettings, ThresholdSettings
from gradclip.config.data import ClassTask, DataSettings, FileForm, OwnDataSettings, TaskSettings, WineSettings
from gradclip.config.model import ModelSettings
from gradclip.config.tracking import TrackingSettings
from gradclip.config.training import LossSettings, OptimizerSettings, ScheduleSettings, TrainerSettings
from gradclip.scores import Split

Name = Annotated[str, Field(min_length=1)]
OF_LOGS = (  # settings of advise that describe a log, or add what it lacks
    *("step_column", "norm_column", "clipped_column", "loss_column", "rate_column", "layer_columns"),
    *("optimizer_name", "max_norm", "parameter_count"),
)
FigureFormat = Literal["png", "pdf", "svg"]


class Parts(NamedTuple):
    """The settings that a user-defined module replaces."""

    model: ModelSettings
    loss: LossSettings
    optimizer: OptimizerSettings
    schedule: ScheduleSettings


class TrainConfig(Settings):
    """All settings of one training run; a user-defined module replaces model, loss, optimizer and schedule."""

    data: Annotated[DataSettings, Discriminator("name")]
    module: OwnClass | None = None
    model: ModelSettings | None = None
    loss: Annotated[LossSettings, Discriminator("name")] | None = None
    optimizer: Annotated[OptimizerSettings, Discriminator("name")] | None = None
    schedule: Annotated[ScheduleSettings, Discriminator("name")] | None = None
    clip: Annotated[ClipSettings, Discriminator("name")]
    threshold: Annotated[ThresholdSettings, Discriminator("name")]
    trainer: TrainerSettings
    callbacks: Annotated[dict[str, OwnClass], Field(default_factory=dict)]
    tracking: Annotated[TrackingSettings, NoEffect]
    seed: Seed
    metric: Name | None = None
    metric_mode: Literal["min", "max"] | None = None
    log_model: Annotated[bool, NoEffect]
    figures: Annotated[bool, NoEffect]
    figure_format: Annotated[FigureFormat, NoEffect] = "png"  # a resumed run may be older than this setting
    resume: Annotated[str | None, Field(exclude=True), NoEffect] = None
    skip_finished: Annotated[bool, Field(exclude=True), NoEffect] = False

    @property
    def parts(self) -> Parts:
        """The parts of one of gradclip's own modules."""
        return Parts(*(getattr(self, group) for group in Parts._fields))

    @model_validator(mode="after")
    def _has_module_or_parts(self) -> "TrainConfig":
        for group in Parts._fields:
            chosen = getattr(self, group)
            if self.module and chosen:
                option = getattr(chosen, "name", None) or chosen.target
                raise ValueError(f"{group}: got {option!r}; module._target_={self.module.target} has its own")
            if not (self.module or chosen):
                raise ValueError(f"{group}: missing; choose an option, or give module._target_=...")
        for name in ("metric", "metric_mode"):
            if not self.module and getattr(self, name):
                raise ValueError(f"{name}: got {getattr(self, name)!r}; it can be set only with module._target_")
        return self

    @model_validator(mode="after")
    def _loss_fits_target(self) -> "TrainConfig":
        task = getattr(self.data, "task", "")  # a table's; auto depends on the target, which is read later
        if self.loss is None or isinstance(self.data, OwnDataSettings) or task == "auto" or self.loss.name == "auto":
            return self
        classes = task == "classification" or isinstance(self.data, ClassTask | WineSettings)
        if classes != (self.loss.name == "cross_entropy"):
            what = "has classes, choose cross_entropy" if classes else "is numeric, choose mse, mae or huber"
            raise ValueError(f"loss: got {self.loss.name!r}; the target of data={self.data.name} {what}")
        return self

    @model_validator(mode="after")
    def _batch_fits_memory(self) -> "TrainConfig":
        most = getattr(self.data, "max_batch_size", self.trainer.batch_size)
        if self.trainer.batch_size > most:
            raise ValueError(f"trainer.batch_size: got {self.trainer.batch_size}; with these data at most {most}")
        return self

    @model_validator(mode="after")
    def _can_be_solved(self) -> "TrainConfig":
        if self.trainer.stop_when_solved and (self.module or not isinstance(self.data, TaskSettings)):
            what = f"data={self.data.name} has" if not self.module else "the metric of your own module has"
            raise ValueError(f"trainer.stop_when_solved: got True; {what} no solved_at")
        return self

    @model_validator(mode="after")
    def _threshold_can_change(self) -> "TrainConfig":
        threshold, clip = self.threshold, self.clip
        if not isinstance(threshold, ChangingThreshold):
            return self
        if clip.value is None or clip.name in {"none", "activation"}:
            raise ValueError(f"threshold: got {threshold.name!r}; clip={clip.label} has no threshold to change")
        factor = max(threshold.start, threshold.end)
        if clip.name in PERCENTILE_METHODS and clip.value * factor > 100:
            allowed = f"its product with clip.value={clip.value}, a percentile, must be at most 100"
            raise ValueError(f"threshold: got a factor of {factor}; {allowed}")
        return self


def has_effect(name: str) -> bool:
    """Return whether a setting or a group changes what a training run computes; the seed does.

    Example:
        >>> has_effect("optimizer.lr"), has_effect("trainer.threads"), has_effect("tracking.uri")
        (True, False, False)
    """
    return not any(name == without or name.startswith(f"{without}.") for without in _settings_without_effect())


def ignores_threshold(method: str) -> bool:
    """Return whether a clipping method, an option of ``clip``, ignores the setting ``clip.value``."""
    return method == "none"


@cache
def _settings_without_effect() -> frozenset[str]:
    marked = {name for name, field in TrainConfig.model_fields.items() if NoEffect in field.metadata}
    for group, field in TrainConfig.model_fields.items():
        for settings in settings_classes(field.annotation):
            inner = settings.model_fields.items()
            marked |= {f"{group}.{name}" for name, setting in inner if NoEffect in setting.metadata}
    return frozenset(marked)


def flatten(config: TrainConfig) -> dict[str, str]:
    """Return every setting as text by its dotted name, as the store keeps it."""
    return {name: str(value) for name, value in leaves(config) if not isinstance(value, Mapping)}


def leaves(config: TrainConfig) -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and value of each setting; an empty mapping within a group is a value."""
    given = {name: value for name, value in config.model_dump(by_alias=True).items() if value not in (None, {})}
    yield from _leaves("", given)


def _leaves(prefix: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value


def settings_classes(annotation: Any) -> list[type[BaseModel]]:
    """Return the settings classes in the annotation of a group: one, or the members of a union."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [member for part in getattr(annotation, "__args__", ()) for member in settings_classes(part)]


class StoreTracking(TrackingSettings):
    """The store to read from, which is required."""

    uri: str


class CompareSettings(Settings):
    """All settings of the command ``compare``."""

    runs: Name | list[Name] | None
    by: list[Name] | None
    metric: Name | None
    split: Split | None
    target: AnyNumber | None
    figures: bool
    figure_format: FigureFormat
    data_set: Name | None
    tracking: StoreTracking


class PredictSettings(Settings):
    """All settings of the command ``predict``."""

    run: Name
    output: Name
    data: FileForm
    tracking: StoreTracking


BATCHES = (10, 20, 40)  # total seeds after each batch with seeds=auto; fewer than ten rarely separate arms


class AdviseSettings(Settings):
    """All settings of the command ``advise``."""

    run: Name | None
    probe: bool | Literal["auto"]
    confirm: bool
    seeds: Annotated[int, Field(ge=2, le=1000)] | Literal["auto"]
    first_seed: Annotated[int, Field(ge=0, le=2**32 - 1000)]  # the last seed must be valid too
    output: Literal["text", "json"]
    log: Name | None
    metric: Name | None
    code: Literal["torch", "lightning"]
    step_column: Name | None
    norm_column: Name | None
    clipped_column: Name | None
    loss_column: Name | None
    rate_column: Name | None
    layer_columns: Pattern | None
    optimizer_name: Name | None
    max_norm: PositiveNumber | None
    parameter_count: Annotated[int, Field(gt=0, le=10**15)] | None
    tracking: TrackingSettings

    @property
    def batches(self) -> tuple[int, ...]:
        """Total number of seeds after each batch of a confirmation."""
        return BATCHES if self.seeds == "auto" else (self.seeds,)

    @model_validator(mode="after")
    def _has_one_source(self) -> "AdviseSettings":
        if self.log is not None and (self.run is not None or self.metric is not None):
            raise ValueError(f"log: got {self.log!r}; it cannot be combined with run= or metric=")
        if self.metric is not None and self.norm_column is not None:
            raise ValueError(f"norm_column: got {self.norm_column!r}; metric={self.metric} already names the norms")
        if self.metric is not None and self.run is None:
            raise ValueError(f"metric: got {self.metric!r}; needs the id of its run, run=...")
        given = [name for name in OF_LOGS if getattr(self, name) is not None]
        if self.log is None and self.metric is None and given:
            raise ValueError(f"{given[0]}: got {getattr(self, given[0])!r}; needs log=... or metric=...")
        if self.log is None and self.tracking.uri is None:
            raise ValueError("tracking.uri: got None; advice on a run needs a store; advice on a log needs log=...")
        return self

    @model_validator(mode="after")
    def _can_be_trained(self) -> "AdviseSettings":
        for name in ("probe", "confirm"):
            if getattr(self, name) is True and (self.log is not None or self.metric is not None):
                raise ValueError(f"{name}: got True; only a run of src/train.py can be trained again")
        if self.confirm and self.output == "json":
            raise ValueError("output: got 'json'; confirm=true prints only text")
        if self.seeds == "auto" and not self.confirm:
            raise ValueError("seeds: got 'auto'; needs confirm=true")
        return self

    @model_validator(mode="after")
    def _layer_pattern_has_one_star(self) -> "AdviseSettings":
        if self.layer_columns is not None and self.layer_columns.count("*") != 1:
            raise ValueError(
                f"layer_columns: got {self.layer_columns!r}; must contain one *, for the name of the tensor"
            )
        return self


COMMANDS: dict[str, type[Settings]] = {
    "train": TrainConfig,
    "compare": CompareSettings,
    "advise": AdviseSettings,
    "predict": PredictSettings,
}
