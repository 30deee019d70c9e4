"""The command that sends what a store did not take while runs trained."""

import os
from collections.abc import Sequence
from pathlib import Path

from gradclip.cli.entry import errors_in_one_line
from gradclip.config.passwords import extract_passwords
from gradclip.config.paths import PROJECT_ROOT
from gradclip.errors import ConfigError
from gradclip.tracking.sync import sync


def run_sync(arguments: Sequence[str], usage: str) -> int:
    """Send what waits below a folder, print a line for each run, and return the exit code.

    Args:
        arguments: of the command: at most one folder.
        usage: what ``--help`` prints.
    """
    if {"--help", "-h"} & set(arguments):
        print(usage.strip())
        return 0
    with errors_in_one_line("sync"):
        extract_passwords([], os.environ)
        if len(arguments) > 1:
            raise ConfigError(f"folder: got {arguments[1]!r} too; only one folder can be named")
        for line in sync(Path(arguments[0]) if arguments else PROJECT_ROOT / "mlruns"):
            print(line)
    return 0
