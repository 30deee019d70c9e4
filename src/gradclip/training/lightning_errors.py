"""What Lightning itself refuses, as a user's error in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

from gradclip.errors import TrainerError, first_line

REFUSAL = "MisconfigurationException"  # of either Lightning package
CALLBACKS = ("pytorch_lightning.callbacks.", "lightning.pytorch.callbacks.")


@contextmanager
def lightning_errors(setting: str) -> Iterator[None]:
    """Report what Lightning cannot do as it is set, or what one of its callbacks lacks.

    Args:
        setting: named in the error.

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
