"""A Griffe extension that rewrites the docstrings of the code for mkdocstrings."""

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":\w+:`~?([\w.]+)`")
EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)


class Docstrings(Extension):
    """Turn Sphinx roles into code, and the section Example into Examples."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrite the docstring of a class, function or attribute."""
        if obj.docstring is not None:
            text = ROLE.sub(lambda role: f"`{role[1].rpartition('.')[2]}`", obj.docstring.value)
            obj.docstring.value = EXAMPLE.sub("Examples:", text)
