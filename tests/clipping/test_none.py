"""`none` reports the norm and changes no gradient."""

import torch

from gradclip import Identity


def test_gradients_are_unchanged_and_their_norm_is_reported():
    gradients = {"weight": torch.tensor([[3e6]]), "bias": torch.tensor(-4e6)}
    clipped, state, report = Identity()(gradients, gradients, {})
    assert clipped == gradients
    assert state == {}
    assert (report.norm, report.norm_clipped, bool(report.clipped)) == (5e6, 5e6, False)


def test_the_returned_mapping_is_a_copy():
    gradients = {"weight": torch.ones(2)}
    clipped, _, _ = Identity()(gradients, gradients, {})
    clipped.clear()
    assert list(gradients) == ["weight"]
