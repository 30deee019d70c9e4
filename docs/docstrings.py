"""A Griffe extension that simplifies docstrings and annotations of the code for mkdocstrings."""

import re
from typing import Any

from griffe import Attribute, ExprName, ExprSubscript, ExprTuple, Extension, Object

ROLE = re.compile(r":\w+:`~?([\w.]+)`")
EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)


class Docstrings(Extension):
    """Turn Sphinx roles into code, the section Example into Examples, and ``Annotated[float, …]`` into ``float``."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrite the docstring of a class, function or attribute."""
        if obj.docstring is not None:
            text = ROLE.sub(lambda role: f"`{role[1].rpartition('.')[2]}`", obj.docstring.value)
            obj.docstring.value = EXAMPLE.sub("Examples:", text)

    def on_attribute_instance(self, *, attr: Attribute, **kwargs: Any) -> None:
        """Drop the range of a field from its annotation; the docstring states it."""
        match attr.annotation:
            case ExprSubscript(left=ExprName(name="Annotated"), slice=ExprTuple(elements=[kind, *_])):
                attr.annotation = kind
