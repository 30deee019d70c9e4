"""User-defined classes: found by their dotted path and constructed from settings."""

import inspect
import os
import pydoc
import sys
from collections.abc import Mapping
from typing import Any

from gradclip.errors import ModelError, did_you_mean, first_line

NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
LIGHTNING = ("pytorch_lightning", "lightning.pytorch")  # two packages with the same types


def find_class(target: str, setting: str, kind: str) -> type[Any]:
    """Return the class at a dotted path, in an installed package or in a file of the current folder.

    Args:
        target: the dotted path.
        setting: name of the setting, for messages.
        kind: description of what the class must be, for messages.

    Raises:
        ModelError: the class is not found, or importing it fails.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that it shadows no other module
    try:
        found = pydoc.locate(target)
    except pydoc.ErrorDuringImport as error:
        raise ModelError(f"{setting}: got {target!r}; importing it fails: {error.value}") from error
    if not inspect.isclass(found):
        where = "in an installed package or in the current folder"
        raise ModelError(f"{setting}: got {target!r}; must be the dotted path of {kind}, {where}")
    return found


def construct(constructor: type[Any], arguments: Mapping[str, Any], group: str) -> Any:
    """Construct an object from the settings of a group.

    Args:
        constructor: the class.
        arguments: arguments of the constructor, by name.
        group: the group of settings, such as ``module``, for messages.

    Raises:
        ModelError: an argument is missing or unknown, or the constructor fails.
    """
    setting, name = f"{group}._target_", constructor.__name__
    known = inspect.signature(constructor).parameters
    takes_any = any(one.kind is one.VAR_KEYWORD for one in known.values())
    for argument in arguments:
        if argument not in known and not takes_any:
            raise ModelError(f"{group}.{argument}: no such argument of {name}{did_you_mean(argument, known)}")
    required = (one.name for one in known.values() if one.default is one.empty and one.kind in NAMED)
    for argument in required:
        if argument not in arguments:
            raise ModelError(f"{setting}: {name} needs the argument {argument!r}; set {group}.{argument}=...")
    try:
        return constructor(**arguments)
    except Exception as error:  # a user's class may raise anything
        raise ModelError(f"{setting}: cannot build {name} with {sorted(arguments)}: {first_line(error)}") from error


def lightning_package(kind: type[Any], base: str) -> str:
    """Return the Lightning package whose ``base`` a class inherits from; empty if it inherits from neither.

    Example:
        >>> from gradclip.models.module import Regressor
        >>> lightning_package(Regressor, "LightningModule"), lightning_package(Regressor, "LightningDataModule")
        ('pytorch_lightning', '')
    """
    bases = (one.__module__ for one in inspect.getmro(kind) if one.__name__ == base)
    found = (package for name in bases for package in LIGHTNING if name.startswith(f"{package}."))
    return next(found, "")
