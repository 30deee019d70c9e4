"""The core needs only torch and NumPy; names that need an extra name it in one line."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

from packaging.requirements import Requirement

from tests.conftest import ROOT

LIGHTNING = ["Classifier", "ClipActivations", "ClipGradients", "GradientMonitor", "HiddenStateMonitor", "Regressor"]
PIPELINE = ["FinishedRun", "SequenceData", "SeriesData", "TabularData", "train"]
PACKAGES = ["clipping", "diagnosis", "telemetry"]  # all their modules need only torch and NumPy
CODE = """
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
from pkgutil import iter_modules

allowed = {"gradclip", *sys.stdlib_module_names, *sys.argv[1].split()}


class Installed:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, path, target) if name.partition(".")[0] in allowed else None


sys.meta_path = [BuiltinImporter, FrozenImporter, Installed]
from importlib import import_module

import gradclip

for package in sys.argv[2].split():
    for module in iter_modules(import_module(f"gradclip.{package}").__path__):
        import_module(f"gradclip.{package}.{module.name}")
for name in gradclip.__all__:
    try:
        getattr(gradclip, name)
    except ImportError as error:
        print(error)
import torch
gradients = {"weight": torch.tensor([3.0, 4.0])}
clipper = gradclip.Norm(1.0)
print(clipper(gradients, gradients, clipper.init(gradients))[0]["weight"].tolist())
"""


def core_modules() -> set[str]:
    """Return the top-level modules of all packages that an installation without extras includes."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    found: set[str] = set()
    while wanted:
        requirement = Requirement(wanted.pop())
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            try:
                wanted += requires(name) or []
            except PackageNotFoundError:  # dependencies of torch that are not installed here, such as those for CUDA
                continue
            found.add(name)
    of_modules = packages_distributions().items()
    return {module for module, names in of_modules if {re.sub(r"[-_.]+", "-", one).lower() for one in names} & found}


def test_the_core_needs_only_torch_and_numpy() -> None:
    modules = core_modules()
    assert {"torch", "numpy"} <= modules
    assert not modules & {"pandas", "hydra", "mlflow", "pytorch_lightning", "pyarrow"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, " ".join(modules), " ".join(PACKAGES)],
        cwd=ROOT / "src", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *missing, clipped = done.stdout.splitlines()
    assert clipped == str([0.6000000238418579, 0.800000011920929])
    form = re.compile(r"gradclip\.(\w+) needs \w+: python -m pip install .*'\.\[(\w+)]'")
    extras = dict(form.fullmatch(line).groups() for line in missing)
    assert extras == dict.fromkeys(LIGHTNING, "lightning") | dict.fromkeys(PIPELINE, "pipeline")
