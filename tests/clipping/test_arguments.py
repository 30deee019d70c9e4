"""Arguments of clippers that are out of range are refused with value and range."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from gradclip import (
    Adaptive,
    Auto,
    Chain,
    Norm,
    Normalize,
    NormValue,
    ParameterEMA,
    ParameterNorm,
    Scheduled,
    Skip,
    Value,
    ZScore,
)
from gradclip.errors import ClippingError

ABOVE_0 = "must be a number above 0"
WHOLE = "must be a whole number from 1 to 2147483647"
DECAY_RATE = "must be a number of at least 0 and below 1"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Norm(-1.0), f"value: got -1.0; {ABOVE_0}"),
        (lambda: Norm(torch.nan), f"value: got nan; {ABOVE_0}"),
        (lambda: Norm(1.0, order=0.5), "order: got 0.5; must be a number from 1 to inf"),
        (lambda: Norm(None), f"value: got None; {ABOVE_0}"),
        (lambda: Norm("1"), f"value: got '1'; {ABOVE_0}"),
        (lambda: Norm(True), f"value: got True; {ABOVE_0}"),
        (lambda: Norm(10**400), f"value: got an integer larger than any float; {ABOVE_0}"),
        (lambda: Norm(torch.tensor([1.0, 2.0])), "value: got a tensor of shape [2]; must be a scalar"),
        (lambda: Norm(1.0, torch.tensor(2.0)), "order: got tensor(2.); must be a number from 1 to inf"),
        (lambda: Norm(np.float32(-1.0)), f"value: got -1.0; {ABOVE_0}"),
        (lambda: Skip(patience=torch.inf), f"patience: got inf; {WHOLE}"),
        (lambda: Normalize(0.0), f"value: got 0.0; {ABOVE_0}"),
        (lambda: ParameterNorm(-1), f"value: got -1; {ABOVE_0}"),
        (lambda: NormValue(norm=0, value=1), f"norm: got 0; {ABOVE_0}"),
        (lambda: Value(1.0, lower=2.0), "lower: got 2.0; must be a number from -inf to 0"),
        (lambda: Adaptive(eps=0.0), f"eps: got 0.0; {ABOVE_0} and at most 3.4e+38"),
        (lambda: Auto(101.0), "value: got 101.0; must be a number from 0 to 100"),
        (lambda: Auto(history=0), "history: got 0; must be a whole number from 1 to 1000000"),
        (lambda: Auto(-0.5), "value: got -0.5; must be a number from 0 to 100"),
        (lambda: ZScore(alpha=1.0), f"alpha: got 1.0; {DECAY_RATE}"),
        (lambda: ZScore(warmup=0), f"warmup: got 0; {WHOLE}"),
        (lambda: ParameterEMA(beta=-0.1), f"beta: got -0.1; {DECAY_RATE}"),
        (lambda: Skip(0.0), f"value: got 0.0; {ABOVE_0}"),
        (lambda: Skip(patience=1.5), f"patience: got 1.5; {WHOLE}"),
        (lambda: Scheduled(Norm(1.0), steps=0), f"steps: got 0; {WHOLE}"),
        (lambda: Scheduled(Norm(1.0), end=-1.0), f"end: got -1.0; {ABOVE_0}"),
        (lambda: Scheduled("a\nb"), "clipper: got 'a\\nb'; must be a Clipper, such as gradclip.Norm(1.0)"),
        (lambda: Scheduled(Norm(1.0), shape=np.ones(2)), "shape: got array([1., 1.]); choose from linear, exponential"),
        (lambda: Scheduled(Skip()), "clipper: got Skip(value=None, patience=10); must have a threshold called value"),
        (lambda: Scheduled(Chain()), f"clipper: got {Chain()!r}; must have a threshold called value"),
    ],
)
def test_an_invalid_argument_is_refused_with_its_value_and_the_allowed_range(make, message):
    with pytest.raises(ClippingError) as caught:
        make()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "number",
    [np.float32(2.0), Fraction(2), 2, np.array(2, dtype=np.int64)[()]],
    ids=lambda number: type(number).__name__,
)
def test_a_number_of_any_type_becomes_a_plain_float_or_integer(number):
    assert repr(Norm(number)) == "Norm(value=2.0, order=2.0)"
    assert repr(Auto(history=number)) == "Auto(value=10.0, history=2)"


@pytest.mark.parametrize("clipper", [Norm(10**20), Adaptive(10**20, eps=3.4e38), ZScore(1e308, warmup=1)], ids=repr)
def test_a_huge_threshold_clips_nothing(clipper):
    parameters, gradients = {"weight": torch.ones(3)}, {"weight": torch.tensor([1.0, 2.0, 3.0])}
    state = clipper.init(parameters)
    for _ in range(3):
        state = clipper.clip_in_place(gradients, parameters, state)
        clipped, state, _ = clipper(gradients, parameters, state)
    assert torch.equal(clipped["weight"], torch.tensor([1.0, 2.0, 3.0]))


def test_a_tensor_may_contain_a_threshold_for_each_replica():
    def clip(threshold, gradient):
        return Norm(threshold)({"only": gradient}, {}, {})[0]["only"]

    clipped = torch.vmap(clip)(torch.tensor([1.0, 2.0]), torch.tensor([[3.0, 4.0], [3.0, 4.0]]))
    torch.testing.assert_close(clipped, torch.tensor([[0.6, 0.8], [1.2, 1.6]]))
