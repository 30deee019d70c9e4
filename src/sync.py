"""Send writes that the store did not accept during training; see ``python src/sync.py --help``."""

import sys

from gradclip.cli.programs import sync

if __name__ == "__main__":
    sys.exit(sync())
