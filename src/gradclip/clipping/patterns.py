"""Checks of name patterns against the parameters of a network."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from gradclip.errors import ClippingError, did_you_mean, first_few


def check_matches(setting: str, pattern: str, names: Iterable[str]) -> None:
    """Check that a pattern matches a parameter, since otherwise it has no effect.

    Args:
        setting: name of the setting that has the pattern, for the message.
        pattern: the pattern, with the wildcards ``*`` and ``?``.
        names: names of the parameters.

    Raises:
        ClippingError: the pattern matches none of them.

    Example:
        >>> check_matches("exclude", "haed.*", ["body.bias", "head.bias"])
        Traceback (most recent call last):
        gradclip.errors.ClippingError: clip: got exclude='haed.*'; must match one of the parameters body.bias, head.bias
    """
    known = list(names)
    if not any(fnmatchcase(name, pattern) for name in known):
        hint = did_you_mean(pattern, known)
        raise ClippingError(
            f"clip: got {setting}={pattern!r}{hint}; must match one of the parameters {first_few(known)}"
        )
