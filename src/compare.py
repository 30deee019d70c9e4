"""Compare stored runs over seeds; see ``python src/compare.py --help``."""

import sys

from gradclip.cli.programs import compare

if __name__ == "__main__":
    sys.exit(compare())
