"""The command ``sync``: sends spooled writes to the store."""

import os
import sys
from collections.abc import Sequence
from inspect import cleandoc
from pathlib import Path

from gradclip.cli.entry import errors_in_one_line, print_help_or_version
from gradclip.config.error_messages import describe
from gradclip.config.passwords import extract_passwords
from gradclip.errors import ConfigError
from gradclip.formatting import counted, printable
from gradclip.program import home, use_utf8
from gradclip.terminal import standard_output
from gradclip.tracking.scratch import remove_abandoned
from gradclip.tracking.sync import sync

ADOPT = "--adopt"


@standard_output()
def run_sync(arguments: Sequence[str], usage: str) -> int:
    """Send the writes that wait below a folder, print a line for each run, and return the exit code.

    The arguments are at most one folder, and ``--adopt`` to also send spools that another user or machine wrote.
    """
    use_utf8()
    if print_help_or_version(arguments, lambda: cleandoc(usage)):
        return 0
    remove_abandoned()
    with errors_in_one_line("sync"):
        extract_passwords([], os.environ)
        folders = [argument for argument in arguments if argument != ADOPT]
        adopt = ADOPT in arguments
        for folder in folders:
            if not folder or folder.startswith("-"):
                raise ConfigError(f"folder: got {folder!r}; must be a path, and the only flag is {ADOPT}")
        if len(folders) > 1:
            raise ConfigError(f"folder: got {folders[1]!r} as a second folder; only one is allowed")
        if adopt and not folders:
            raise ConfigError(f"{ADOPT}: got no folder; name the one whose writes to send")
        return _report(Path(folders[0]) if folders else home() / "mlruns", adopt)


def _report(folder: Path, adopt: bool) -> int:
    """Print a line for each run, on standard error if it failed, and return the exit code."""
    replayed = []
    for run in sync(folder, adopt):
        replayed.append(run)
        where = printable(str(run.folder))
        if run.error is not None:
            line = describe(run.error)
            waiting = "" if where in line else f"; the writes in {where} still wait"
            print(f"error: {line}{waiting}", file=sys.stderr)
        elif run.writes:
            print(f"Sent {counted(run.writes, 'write')} from {where}")
    if not any(run.writes or run.error for run in replayed):
        print(f"Nothing to send below {folder}")
    return 2 if any(run.error for run in replayed) else 0
