"""Values of settings in Hydra's override grammar, quoted where it or a shell needs that."""

import re
import shlex
from collections.abc import Mapping, Sequence
from numbers import Real
from os import PathLike, fspath
from typing import Any

PLAIN = re.compile(r"(?:[A-Za-z_]|\.{0,2}/)[\w./*-]*", re.ASCII)  # strings that need no quotes in Hydra's grammar
WORDS = {"true", "false", "null", "inf", "nan"}  # not strings in Hydra's grammar
UNSAFE = re.compile(r"[^\w.,=\[\]-]")  # characters that a shell may change


def quoted(text: str) -> str:
    r"""Return a text in quotes as Hydra's override grammar reads it: only backslashes before a quote are escapes.

    The quotes are double, since a shell needs single quotes around them.

    Example:
        >>> print(quoted(r'it is "a\b"'))
        "it is \"a\b\""
    """
    inner = re.sub(r'(\\*)"', r'\1\1\\"', text)
    inner = re.sub(r"(\\+)\Z", r"\1\1", inner)
    return f'"{inner}"'


def override_value(value: Any) -> str:
    r"""Return a value in Hydra's override grammar.

    Raises:
        TypeError: the value, or one in it, is neither a number, a string, a path, a list, a mapping nor None.

    Example:
        >>> override_value([1, None, "*weight"]), override_value(True), override_value("/tmp/prices.csv")
        ('[1,null,"*weight"]', 'true', '/tmp/prices.csv')
        >>> print(override_value(r"it's a\b"))
        "it's a\b"
    """
    match value:
        case None | bool():
            return "null" if value is None else str(value).lower()
        case Real():
            return str(value)
        case list() | tuple():
            return f"[{','.join(map(override_value, value))}]"
        case Mapping():
            return f"{{{','.join(f'{key}:{override_value(part)}' for key, part in value.items())}}}"
        case str() | PathLike():
            text = fspath(value)
            return text if PLAIN.fullmatch(text) and text.lower() not in WORDS else quoted(text)
        case _:
            raise TypeError(f"{value!r} cannot be the value of a setting")


def list_of_columns(setting: str, names: Sequence[str]) -> str:
    r"""Return a setting with a list of columns as it is typed in a shell.

    Example:
        >>> print(list_of_columns("data.exclude", ["id", "size"]))
        data.exclude=[id,size]
        >>> print(list_of_columns("data.exclude", ["id", r"size, m\s", "1e5", "NaN"]))
        'data.exclude=[id,"size, m\s","1e5","NaN"]'
    """
    text = f"{setting}={override_value(names)}"
    return shlex.quote(text) if UNSAFE.search(text) else text
