"""Errors of Lightning itself, reported in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

from gradclip.errors import TrainerError, first_line

REFUSAL = "MisconfigurationException"  # in either Lightning package
CALLBACKS = ("pytorch_lightning.callbacks.", "lightning.pytorch.callbacks.")


@contextmanager
def lightning_errors(setting: str) -> Iterator[None]:
    """Convert a misconfiguration error of Lightning, and any error in one of its callbacks, to a TrainerError.

    Args:
        setting: beginning of the message: the setting and its value.

    Raises:
        TrainerError: in place of Lightning's error.
    """
    try:
        yield
    except Exception as error:
        *_, (innermost, _) = walk_tb(error.__traceback__)
        raised_in = str(innermost.f_globals.get("__name__"))
        if type(error).__name__ != REFUSAL and not raised_in.startswith(CALLBACKS):
            raise
        raise TrainerError(f"{setting}; {first_line(error)}") from error
