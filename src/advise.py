"""Advise on a stored run; ``python src/advise.py --help`` says how."""

import sys

from gradclip.cli.programs import advise

if __name__ == "__main__":
    sys.exit(advise())
