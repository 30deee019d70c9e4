"""The notebook in docs/ runs, and its stored outputs are up to date."""

import re
import runpy

import pytest

from tests.conftest import ROOT

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
SCRIPT = ROOT / "docs" / "notebook.py"
NUMBER = re.compile(r"\b[0-9a-f]{32}\b|\d[-\d_]*\.?\d*(?:e[-+]?\d+)?")


def texts(notebook):
    """Return the text outputs without numbers, which may differ between machines."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output.text if output.output_type == "stream" else output.data["text/plain"] for output in outputs]
    return [" ".join(NUMBER.sub("#", text).split()) for text in shown]


@pytest.mark.command
def test_the_stored_outputs_are_up_to_date(tmp_path):
    stored = nbformat.read(ROOT / "docs" / "notebook.ipynb", as_version=4)
    executed = runpy.run_path(str(SCRIPT))["execute"](str(tmp_path))
    assert texts(executed) == texts(stored), "run: python docs/notebook.py"
    assert {path.name for path in tmp_path.iterdir()} == {"mlruns"}
    assert "image/png" in nbformat.writes(stored)
    assert 'src="data:image/png' in str(stored)
    assert nbformat.validator.isvalid(stored)
