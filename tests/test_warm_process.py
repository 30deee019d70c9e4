"""The modules that a warm process loads in advance exist."""

from importlib.util import find_spec

import pytest

from tests.support.warm_process import LOADED


@pytest.mark.parametrize("name", LOADED)
def test_preloaded_modules_exist(name: str) -> None:
    assert find_spec(name) is not None  # multiprocessing silently ignores modules that it cannot import
