"""The nearest valid name to a mistyped one."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Say which allowed name is nearest, or nothing where none is near.

    Example:
        >>> did_you_mean("clip.valu", ["clip.value", "seed"])
        " (did you mean 'clip.value'?)"
        >>> did_you_mean("zzz", ["clip.value", "seed"])
        ''
    """
    nearest = get_close_matches(name, list(allowed), n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""
