"""Execute ``notebook.ipynb`` and store its outputs: ``python docs/notebook.py``."""

import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from gradclip.program import STARTED_IN

NOTEBOOK = Path(__file__).with_suffix(".ipynb")


def execute(folder: str) -> nbformat.NotebookNode:
    """Return the notebook, executed in a folder, with outputs that do not show the folder's name."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment |= {"PYTHONPATH": str(NOTEBOOK.parents[1] / "src"), STARTED_IN: folder}
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": folder}}).execute(env=environment)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # execution times
    return nbformat.reads(nbformat.writes(notebook).replace(f"{folder}/", ""), as_version=4)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(execute(folder), NOTEBOOK)
