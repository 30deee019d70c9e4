"""Fixtures for modules that users write; each test runs with every installed Lightning package."""

import pytest


@pytest.fixture(params=["pytorch_lightning", "lightning.pytorch"])
def lightning(request):
    return pytest.importorskip(request.param)
