import subprocess
import sys

from tests.conftest import ROOT

TELEMETRY = """
from gradclip.tracking.process import _ask
from gradclip.tracking.records import Store
assert _ask(Store("http://127.0.0.1:1", "", ""), "is_read_only", (), {}) is False
from mlflow.telemetry.client import get_telemetry_client
print(get_telemetry_client())
"""


def test_mlflow_is_told_to_report_nothing_to_its_makers_before_it_loads():
    only = {"PYTHONPATH": str(ROOT / "src")}  # by variables of pytest's, or a CI's, MLflow knows that it is only tested
    told = subprocess.run([sys.executable, "-c", TELEMETRY], capture_output=True, text=True, check=True, env=only)
    assert told.stdout == "None\n"
