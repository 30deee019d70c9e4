"""Send what a store did not take while runs trained: it waits in their folders.

python src/sync.py                      everything below mlruns
python src/sync.py mlruns/hydra/runs    everything below another folder
"""

import os
import sys
from pathlib import Path

from gradclip.cli.entry import errors_in_one_line
from gradclip.config.passwords import extract_passwords
from gradclip.config.paths import PROJECT_ROOT


def main() -> int:
    """Send, and tell what was sent."""
    arguments = sys.argv[1:]
    if {"--help", "-h"} & set(arguments):
        print(__doc__.strip())
        return 0
    with errors_in_one_line("sync"):
        extract_passwords([], os.environ)
        from gradclip.tracking.sync import sync

        for line in sync(Path(arguments[0]) if arguments else PROJECT_ROOT / "mlruns", arguments[1:]):
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
