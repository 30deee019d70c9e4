"""A chain applies its clippers in order, each with its own state."""

import pytest
import torch

from gradclip import Chain, Groups, Identity, Norm, Value
from gradclip.errors import ClippingError
from tests.support.clipping import Shrinking

GRADIENTS = {"weight": torch.tensor([3.0, 4.0])}


def test_each_clipper_receives_the_output_of_the_previous_one():
    clipped, _, report = Chain(Norm(1.0), Value(0.7))(GRADIENTS, GRADIENTS, {})
    torch.testing.assert_close(clipped["weight"], torch.tensor([0.6, 0.7]))
    assert report.norm == 5.0
    assert report.norm_clipped.item() == pytest.approx(0.85**0.5)
    assert report.clipped


def test_the_order_of_clippers_matters():
    clipped, _, _ = Chain(Value(0.7), Norm(1.0))(GRADIENTS, GRADIENTS, {})
    torch.testing.assert_close(clipped["weight"], torch.tensor([0.7, 0.7]))


def test_an_empty_chain_does_not_clip():
    clipped, state, report = Chain()(GRADIENTS, GRADIENTS, {})
    assert torch.equal(clipped["weight"], GRADIENTS["weight"])
    assert state == {}
    assert not report.clipped


def test_each_clipper_keeps_its_own_state():
    chain = Chain(Shrinking(), Identity(), Shrinking())
    state = chain.init(GRADIENTS)
    assert state == {"0.calls": 0.0, "2.calls": 0.0}
    clipped, state, _ = chain(GRADIENTS, GRADIENTS, state)
    torch.testing.assert_close(clipped["weight"], torch.tensor([3.0, 4.0]))
    clipped, state, _ = chain(GRADIENTS, GRADIENTS, state)
    torch.testing.assert_close(clipped["weight"], torch.tensor([0.75, 1.0]))
    assert state == {"0.calls": 2.0, "2.calls": 2.0}


def test_nested_chains_keep_their_states_apart():
    chain = Chain(Chain(Shrinking(), Shrinking()), Shrinking())
    state = chain.init(GRADIENTS)
    assert set(state) == {"0.0.calls", "0.1.calls", "1.calls"}
    _, state, _ = chain(GRADIENTS, GRADIENTS, state)
    clipped, _, _ = chain(GRADIENTS, GRADIENTS, state)
    torch.testing.assert_close(clipped["weight"], GRADIENTS["weight"] / 8)


def test_more_than_ten_clippers_keep_their_states_apart():
    chain = Chain(*(Shrinking() for _ in range(11)))  # the prefix "1." must not match "10.calls"
    state = chain.init(GRADIENTS)
    for _ in range(2):
        clipped, state, _ = chain(GRADIENTS, GRADIENTS, state)
    torch.testing.assert_close(clipped["weight"], GRADIENTS["weight"] / 2**11)
    assert len(state) == 11


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Chain([Norm(1.0)]), "clippers: got [Norm(value=1.0, order=2.0)]; must be a Clipper"),
        (lambda: Groups({"*": 1.0}), "groups: got 1.0; must be a Clipper"),
        (
            lambda: Groups({1: Norm(1.0)}),
            "groups: got {1: Norm(value=1.0, order=2.0)}; must be a dictionary of clippers",
        ),
        (lambda: Groups(Norm(1.0)), "groups: got Norm(value=1.0, order=2.0); must be a dictionary of clippers"),
    ],
)
def test_an_argument_that_is_no_clipper_is_refused(make, message):
    with pytest.raises(ClippingError) as caught:
        make()
    assert str(caught.value).startswith(message)


def test_a_chain_shows_its_clippers():
    assert repr(Chain(Norm(1.0), Identity())) == "Chain(Norm(value=1.0, order=2.0), Identity())"
