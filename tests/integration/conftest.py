"""Other people's modules: the same tests under each of the two Lightning packages that is installed."""

import pytest


@pytest.fixture(params=["pytorch_lightning", "lightning.pytorch"])
def lightning(request):
    return pytest.importorskip(request.param)
