"""All settings of a run together: read, checked before anything heavy is imported, and written out again."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import BaseModel, Discriminator, Field, ValidationError, model_validator

from gradclip.errors import ConfigError
from gradclip.settings.base import Settings
from gradclip.settings.clip import AutoClip, ChangingThreshold, ClipSettings, ThresholdSettings
from gradclip.settings.data import ClassTask, DataSettings, TaskSettings
from gradclip.settings.model import ModelSettings
from gradclip.settings.tracking import TrackingSettings
from gradclip.settings.training import LossSettings, OptimizerSettings, ScheduleSettings, TrainerSettings
from gradclip.suggest import did_you_mean


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
