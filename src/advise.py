"""Advise on a stored run; see ``python src/advise.py --help``."""

import sys

from gradclip.cli.programs import advise

if __name__ == "__main__":
    sys.exit(advise())
