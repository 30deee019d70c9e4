"""User-defined modules, data modules and callbacks in our pipeline, from either Lightning package."""

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
RATE_PREFIX = "lr-"  # prefix of the metrics of LearningRateMonitor
SomeCallback = TypeVar("SomeCallback", bound=Callback)


def build_own_module(settings: OwnClass) -> LightningModule:
    """Build a user-defined module.

    Raises:
        ModelError: there is no such class, it cannot be built, Lightning cannot train it, or it has its own training
            data.
    """
    module: LightningModule = _build(settings, "module", "LightningModule")
    for hook in ("training_step", "configure_optimizers"):
        if not overrides(module, hook):
            raise ModelError(f"module._target_: got {settings.target!r}; it has no {hook}")
    if overrides(module, "train_dataloader"):
        what = "it has its own data: move its train_dataloader to a LightningDataModule, data._target_=..."
        raise ModelError(f"module._target_: got {settings.target!r}; {what}")
    return module


def build_own_data_module(settings: OwnClass) -> LightningDataModule:
    """Build a user-defined data module.

    Raises:
        ModelError: there is no such class, it cannot be built, or it has no ``train_dataloader``.
    """
    data: LightningDataModule = _build(settings, "data", "LightningDataModule")
    if not overrides(data, "train_dataloader"):
        raise ModelError(f"data._target_: got {settings.target!r}; it has no train_dataloader")
    return data


def build_own_callbacks(settings: Mapping[str, OwnClass], package: ModuleType) -> list[Callback]:
    """Build callbacks in order; Lightning's own callbacks are taken from the package of the Trainer.

    Args:
        settings: class and arguments of each callback, by name.
        package: the Lightning package of the Trainer.

    Raises:
        ModelError: a class is not found, or a callback cannot be built.
    """
    built = []
    for name, one in settings.items():
        own = next((lightning for lightning in LIGHTNING if one.target.startswith(f"{lightning}.")), "")
        target = f"{package.__name__}{one.target.removeprefix(own)}" if own else one.target
        built.append(_build(OwnClass(_target_=target, **one.arguments), f"callbacks.{name}", "Callback"))
    return built


def check_monitored(settings: Mapping[str, OwnClass], metrics: Sequence[str]) -> None:
    """Check that callbacks monitor metrics that our modules log.

    If one of the callbacks is not Lightning's, nothing is checked, since that callback may log any metric.

    Args:
        settings: class and arguments of each callback, by name.
        metrics: names of the metrics that the module logs.

    Raises:
        ModelError: a callback monitors another metric.
    """
    if not all(one.target.startswith(tuple(f"{package}." for package in LIGHTNING)) for one in settings.values()):
        return
    for name, one in settings.items():
        monitored = one.arguments.get("monitor")
        is_logged = monitored is None or monitored in metrics or str(monitored).startswith(RATE_PREFIX)
        if not is_logged and one.arguments.get("strict", True):
            raise ModelError(f"callbacks.{name}.monitor: got {monitored!r}; must be one of {', '.join(metrics)}")


def package_of(module: LightningModule) -> ModuleType:
    """Return the Lightning package of a module's base class, whose Trainer can train it."""
    return importlib.import_module(lightning_package(type(module), "LightningModule"))


def as_checkpoint(kind: type[SomeCallback], package: ModuleType) -> type[SomeCallback]:
    """Return a callback's class as a ``Checkpoint`` of a package, whose Trainer calls it after all other callbacks.

    Args:
        kind: a subclass of ``Checkpoint`` in pytorch_lightning.
        package: the Lightning package of the Trainer.
    """
    base = package.callbacks.Checkpoint
    return kind if issubclass(kind, base) else type(kind.__name__, (kind, base), {})


def as_data_module(data: LightningDataModule, package: ModuleType, replaced: Mapping[str, Any]) -> LightningDataModule:
    """Return a data module that a package's Trainer accepts: the same one, or one that forwards to its hooks.

    Args:
        data: the data module.
        package: the Lightning package of the Trainer.
        replaced: hooks that replace those of the data module, by name.
    """
    if isinstance(data, package.LightningDataModule) and not replaced:
        return data  # type: ignore[no-any-return]  # typed as pytorch_lightning's, which stands for both
    handed_on = {hook: getattr(data, hook) for hook in DATA_HOOKS if overrides(data, hook)}
    forwarding: LightningDataModule = package.LightningDataModule()
    for name, hook in {**handed_on, **replaced}.items():
        setattr(forwarding, name, hook)
    return forwarding


def _build(settings: OwnClass, group: str, base: str) -> Any:
    """Build an object whose class is derived from ``base``, a class of Lightning."""
    setting, kind = f"{group}._target_", f"a {base} of pytorch_lightning or lightning.pytorch"
    found = find_class(settings.target, setting, kind)
    if not lightning_package(found, base):
        raise ModelError(f"{setting}: got {settings.target!r}; must be {kind}")
    return construct(found, settings.arguments, group)
