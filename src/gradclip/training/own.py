"""Classes of the user in our pipeline: module, data module and callbacks, of either of the two Lightning packages."""

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, TypeVar

from pytorch_lightning import Callback, LightningDataModule, LightningModule

from gradclip.callbacks.trainer_checks import overrides
from gradclip.config.base import OwnClass
from gradclip.errors import ModelError
from gradclip.models.classes import LIGHTNING, construct, find_class, lightning_package

DATA_HOOKS = (
    *("prepare_data", "setup", "teardown", "train_dataloader", "val_dataloader", "state_dict", "load_state_dict"),
    *("transfer_batch_to_device", "on_before_batch_transfer", "on_after_batch_transfer", "on_exception"),
)
OF_RATES = "lr-"  # begins what LearningRateMonitor logs
SomeCallback = TypeVar("SomeCallback", bound=Callback)


def build_own_module(settings: OwnClass) -> LightningModule:
    """Build a module of the user's.

    Raises:
        ModelError: there is no such class, it cannot be built, or Lightning cannot train it.
    """
    module: LightningModule = _build(settings, "module", "LightningModule")
    for hook in ("training_step", "configure_optimizers"):
        if not overrides(module, hook):
            raise ModelError(f"module._target_: got {settings.target!r}; it has no {hook}")
    if overrides(module, "train_dataloader"):
        what = "it has data of its own: move its train_dataloader to a LightningDataModule, data._target_=..."
        raise ModelError(f"module._target_: got {settings.target!r}; {what}")
    return module


def build_own_data_module(settings: OwnClass) -> LightningDataModule:
    """Build a data module of the user's.

    Raises:
        ModelError: there is no such class, it cannot be built, or it has no training batches.
    """
    data: LightningDataModule = _build(settings, "data", "LightningDataModule")
    if not overrides(data, "train_dataloader"):
        raise ModelError(f"data._target_: got {settings.target!r}; it has no train_dataloader")
    return data


def build_own_callbacks(settings: Mapping[str, OwnClass], package: ModuleType) -> list[Callback]:
    """Build callbacks, in order; Lightning's own are those of the package whose Trainer trains.

    Args:
        settings: the class and the arguments of each, by name.
        package: the Lightning package.

    Raises:
        ModelError: there is no such class, or it cannot be built.
    """
    built = []
    for name, one in settings.items():
        own = next((lightning for lightning in LIGHTNING if one.target.startswith(f"{lightning}.")), "")
        target = f"{package.__name__}{one.target.removeprefix(own)}" if own else one.target
        built.append(_build(OwnClass(_target_=target, **one.arguments), f"callbacks.{name}", "Callback"))
    return built


def check_monitored(settings: Mapping[str, OwnClass], metrics: Sequence[str]) -> None:
    """Refuse a callback that waits for a metric which no module of ours logs.

    Where a callback is not Lightning's, it may log any metric, so that nothing is refused.

    Args:
        settings: the class and the arguments of each callback, by name.
        metrics: what the module logs.

    Raises:
        ModelError: there is such a callback.
    """
    if not all(one.target.startswith(tuple(f"{package}." for package in LIGHTNING)) for one in settings.values()):
        return
    for name, one in settings.items():
        monitored = one.arguments.get("monitor")
        is_logged = monitored is None or monitored in metrics or str(monitored).startswith(OF_RATES)
        if not is_logged and one.arguments.get("strict", True):
            raise ModelError(f"callbacks.{name}.monitor: got {monitored!r}; logged are {', '.join(metrics)}")


def package_of(module: LightningModule) -> ModuleType:
    """Return the Lightning package that trains a module: the one that its type is from."""
    return importlib.import_module(lightning_package(type(module), "LightningModule"))


def as_checkpoint(kind: type[SomeCallback], package: ModuleType) -> type[SomeCallback]:
    """Return a callback's class as one that a package takes for a ``Checkpoint``, to be called after all others.

    Args:
        kind: a ``Checkpoint`` of pytorch_lightning.
        package: the Lightning package.
    """
    base = package.callbacks.Checkpoint
    return kind if issubclass(kind, base) else type(kind.__name__, (kind, base), {})


def as_data_module(
    data: LightningDataModule, package: ModuleType, replaced: Mapping[str, Any] | None = None
) -> LightningDataModule:
    """Return a data module that a package's Trainer takes: itself, or one that hands on each of its hooks.

    Args:
        data: the data module.
        package: the Lightning package.
        replaced: hooks in place of its own, by name.
    """
    if isinstance(data, package.LightningDataModule) and not replaced:
        return data  # type: ignore[no-any-return]  # pytorch_lightning's type stands for both
    handed_on = {hook: getattr(data, hook) for hook in DATA_HOOKS if overrides(data, hook)}
    forwarding: LightningDataModule = package.LightningDataModule()
    for name, hook in (handed_on | dict(replaced or {})).items():
        setattr(forwarding, name, hook)
    return forwarding


def _build(settings: OwnClass, group: str, base: str) -> Any:
    """Build an object whose class is derived from a type of Lightning."""
    setting, kind = f"{group}._target_", f"a {base} of pytorch_lightning or lightning.pytorch"
    found = find_class(settings.target, setting, kind)
    if not lightning_package(found, base):
        raise ModelError(f"{setting}: got {settings.target!r}; must be {kind}")
    return construct(found, settings.arguments, group)
