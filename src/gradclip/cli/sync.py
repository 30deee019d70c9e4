"""The command that sends what a store did not take while runs trained."""

import os
from collections.abc import Sequence
from pathlib import Path

from gradclip.cli.entry import errors_in_one_line
from gradclip.config.passwords import extract_passwords
from gradclip.config.paths import PROJECT_ROOT
from gradclip.errors import ConfigError
from gradclip.tracking.sync import sync

ADOPT = "--adopt"


def run_sync(arguments: Sequence[str], usage: str) -> int:
    """Send what waits below a folder, print a line for each run, and return the exit code.

    Args:
        arguments: of the command: at most one folder, and ``--adopt`` for spools that another user or machine wrote.
        usage: what ``--help`` prints.
    """
    if {"--help", "-h"} & set(arguments):
        print(usage.strip())
        return 0
    with errors_in_one_line("sync"):
        extract_passwords([], os.environ)
        folders = [argument for argument in arguments if argument != ADOPT]
        adopt = ADOPT in arguments
        if len(folders) > 1:
            raise ConfigError(f"folder: got {folders[1]!r} too; only one folder can be named")
        if adopt and not folders:
            raise ConfigError(f"{ADOPT}: name the folder whose writes are to be sent")
        for line in sync(Path(folders[0]) if folders else PROJECT_ROOT / "mlruns", adopt):
            print(line)
    return 0
