import gc
import sys

import pytest

from gradclip.tracking.process import load_module as load


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "takes_long.py").write_text("import gc\n\nwas_on = gc.isenabled()\nkept = [[]]\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "takes_long"
    sys.modules.pop("takes_long", None)
    gc.unfreeze()


def test_the_collector_is_away_while_a_module_loads_and_never_visits_what_was_loaded(module):
    load(module)
    assert gc.isenabled()
    assert not sys.modules[module].was_on
    assert not any(one is sys.modules[module].kept for one in gc.get_objects())


def test_what_comes_later_is_collected_however_often_it_is_asked_for(module):
    load(module)
    later = [[]]
    load(module)
    assert any(one is later for one in gc.get_objects())


def test_a_collector_that_was_off_stays_off(module):
    gc.disable()
    try:
        load(module)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_collector_is_back_where_a_module_cannot_be_loaded():
    with pytest.raises(ModuleNotFoundError):
        load("no_such_module")
    assert gc.isenabled()
