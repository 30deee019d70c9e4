"""Docstrings of public functions describe their parameters."""

import inspect
import pkgutil
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import gradclip
from gradclip.tracking.operations import Operations

MANY = 3  # functions with at least this many parameters must describe them


def public_functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield public functions and methods of the package, except methods that a base class describes."""
    for found in pkgutil.walk_packages(gradclip.__path__, "gradclip."):
        if found.name == "gradclip.norms.gpu_kernels":  # needs Triton, and its functions are Triton kernels
            continue
        module = import_module(found.name)
        for name, member in vars(module).items():
            if name.startswith("_") or getattr(member, "__module__", None) != found.name:
                continue
            if inspect.isfunction(member):
                yield f"{found.name}.{name}", member
            elif inspect.isclass(member):
                yield from own_methods(member)


def own_methods(kind: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, member in vars(kind).items():
        method = getattr(member, "__func__", member)
        inherited = any(hasattr(base, name) for base in (*kind.__mro__[1:], *described_elsewhere(kind)))
        if inspect.isfunction(method) and not name.startswith("_") and not inherited:
            yield f"{kind.__module__}.{kind.__qualname__}.{name}", method


def described_elsewhere(kind: type) -> tuple[type, ...]:
    """Return further classes that describe a class's methods: Operations describes those of the backend."""
    return (Operations,) if kind.__module__.startswith("gradclip.tracking.backend") else ()


def undescribed(function: Callable[..., Any]) -> set[str]:
    names = set(inspect.signature(function).parameters) - {"self", "cls"}
    text = inspect.getdoc(function) or ""
    return {name for name in names if f"{name}:" not in text} if len(names) >= MANY else set()


def test_functions_with_many_parameters_describe_each() -> None:
    missing = {name: names for name, function in public_functions() if (names := undescribed(function))}
    assert missing == {}
