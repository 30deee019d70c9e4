"""For each import contract of pyproject.toml, lint-imports finds and names an import that breaks it."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.conftest import ROOT

AGAINST = [  # contract, module, forbidden import
    ("Imports point down", "gradclip.keys", "gradclip.telemetry.record"),
    ("No cycles", "gradclip.models.mlp", "gradclip.models.recurrent"),
    ("No cycles", "gradclip.models.recurrent", "gradclip.models.mlp"),
    ("MLflow is imported in the tracking backend and the predictor only", "gradclip.compare.report", "mlflow"),
    ("Hydra is imported in commands, settings and sweeps only", "gradclip.stacked.training", "omegaconf"),
    ("The library pieces need neither MLflow nor Hydra", "gradclip.clipping.norm", "mlflow"),
    (
        "Hydra's plugins import gradclip.sweep and gradclip.errors only",
        "hydra_plugins.search_sweeper",
        "gradclip.clipping.norm",
    ),
]
RUN = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def test_a_forbidden_import_breaks_its_contract(tmp_path: Path) -> None:
    pytest.importorskip("importlinter")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for _, module, imported in AGAINST:
        with (tmp_path / "src" / f"{module.replace('.', '/')}.py").open("a") as file:
            file.write(f"\nimport {imported}\n")
    packages = f"{tmp_path}/src:{sysconfig.get_path('purelib')}"  # -S excludes the installed gradclip
    done = subprocess.run(
        [sys.executable, "-S", "-c", RUN, "--no-cache", "--config", str(ROOT / "pyproject.toml")],
        cwd=tmp_path / "src", env={"PYTHONPATH": packages}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    output = " ".join(done.stdout.split())
    for contract, module, imported in AGAINST:
        assert f"{contract} BROKEN" in output
        if contract != "No cycles":  # this contract names the packages of the cycle instead
            assert f"{module} -> {imported} (l." in output
    assert "No cycles are allowed in gradclip.models." in output
