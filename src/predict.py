"""Predict new rows with a stored model; ``python src/predict.py --help`` says how."""

import sys

from gradclip.cli.programs import predict

if __name__ == "__main__":
    sys.exit(predict())
