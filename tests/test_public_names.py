"""`import gradclip` is light, and every public name is imported on first use."""

import subprocess
import sys

import pytest

import gradclip
from gradclip.clipping import method_table


def test_importing_gradclip_imports_no_heavy_module():
    code = "import gradclip, sys; gradclip.__all__, dir(gradclip); print([m for m in sys.modules if m in sys.argv])"
    heavy = ["torch", "numpy", "pandas", "pydantic", "hydra", "mlflow", "pytorch_lightning", "pathlib"]
    done = subprocess.run([sys.executable, "-S", "-c", code, *heavy], capture_output=True, text=True, check=False,
                          env={"PYTHONPATH": str(next(iter(gradclip.__path__)) + "/..")})  # fmt: skip
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("name", gradclip.__all__)
def test_every_public_name_is_imported_on_first_use(name):
    assert getattr(gradclip, name).__name__ == name
    assert name in dir(gradclip)


def test_the_clipper_of_every_method_is_public():
    assert {"Norm", "Identity", "ParameterEMA"} < set(method_table().values()) < set(gradclip.__all__)


def test_a_star_import_imports_every_public_name():
    names = {}
    exec("from gradclip import *", names)
    assert set(gradclip.__all__) <= set(names)


def test_unknown_names_raise_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'gradclip' has no attribute 'Nrom'"):
        gradclip.Nrom  # noqa: B018
