"""Train a network, clip its gradients, and track the run; see ``python src/train.py --help``."""

import sys

from gradclip.cli.programs import train

if __name__ == "__main__":
    sys.exit(train())
