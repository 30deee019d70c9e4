"""Predict new rows with a stored model; see ``python src/predict.py --help``."""

import sys

from gradclip.cli.programs import predict

if __name__ == "__main__":
    sys.exit(predict())
