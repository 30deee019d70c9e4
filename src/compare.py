"""Compare stored runs over seeds; ``python src/compare.py --help`` says how."""

import sys

from gradclip.cli.programs import compare

if __name__ == "__main__":
    sys.exit(compare())
