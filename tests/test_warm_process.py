from importlib.util import find_spec

import pytest

from tests.support.warm_process import LOADED


@pytest.mark.parametrize("name", LOADED)
def test_what_forks_are_to_share_exists(name: str) -> None:
    assert find_spec(name) is not None  # multiprocessing says nothing of a module that it cannot load
