"""Send what a store did not take while runs trained; ``python src/sync.py --help`` says how."""

import sys

from gradclip.cli.programs import sync

if __name__ == "__main__":
    sys.exit(sync())
