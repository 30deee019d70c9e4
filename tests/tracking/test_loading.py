"""Imports run without garbage collection, and collection is as before afterwards."""

import gc
import os
import subprocess
import sys
from textwrap import dedent

import pytest

from gradclip.tracking.process import load_module as load
from tests.conftest import ROOT


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "takes_long.py").write_text("import gc\n\nwas_on = gc.isenabled()\nkept = [[]]\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "takes_long"
    sys.modules.pop("takes_long", None)
    gc.unfreeze()


def test_garbage_collection_is_off_during_an_import_and_never_visits_imported_objects(module):
    load(module)
    assert gc.isenabled()
    assert not sys.modules[module].was_on
    assert not any(one is sys.modules[module].kept for one in gc.get_objects())


def test_objects_created_after_an_import_are_collected_even_if_the_import_is_repeated(module):
    load(module)
    later = [[]]
    load(module)
    assert any(one is later for one in gc.get_objects())


def test_disabled_garbage_collection_stays_disabled(module):
    gc.disable()
    try:
        load(module)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_garbage_collection_is_enabled_again_after_a_failed_import():
    with pytest.raises(ModuleNotFoundError):
        load("no_such_module")
    assert gc.isenabled()


def test_objects_of_triton_are_freed_at_exit(tmp_path):
    (tmp_path / "triton.py").write_text(
        dedent("""
        class Kept:
            def __init__(self):
                self.itself = self

            def __del__(self):
                print("freed")

        kept = Kept()
        """)
    )
    program = "from gradclip.tracking.process import load_module; load_module('triton')"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT / "src")])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("freed\n", "")
