"""Standard output whose reader may go away, such as ``head``. Nothing of the extra ``pipeline`` is imported here."""

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def standard_output() -> Iterator[None]:
    """Write all of standard output; where nobody reads it any more, end without a word, as other programs do.

    Raises:
        SystemExit: the code of a program that SIGPIPE ended.
        BrokenPipeError: what broke is something else.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _has_no_reader(sys.stdout.fileno()):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left in its buffer
        raise SystemExit(128 + signal.SIGPIPE) from None


def _has_no_reader(descriptor: int) -> bool:
    state = select.poll()
    state.register(descriptor, 0)  # what is wrong with it, which is always reported
    return bool(state.poll(0))
