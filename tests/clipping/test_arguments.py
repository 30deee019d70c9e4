"""Arguments of clippers that are out of range are refused with value and range."""

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

ABOVE_0 = "must be above 0"
WHOLE = "must be a whole number from 1 to 2147483647"
SHARE = "must be at least 0 and below 1"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Norm(-1.0), f"value: got -1.0; {ABOVE_0}"),
        (lambda: Norm(torch.nan), f"value: got nan; {ABOVE_0}"),
        (lambda: Norm(1.0, order=0.5), "order: got 0.5; must be from 1 to inf"),
        (lambda: Norm(None), f"value: got None; {ABOVE_0}"),
        (lambda: Norm("1"), f"value: got '1'; {ABOVE_0}"),
        (lambda: Norm(np.float32(-1.0)), f"value: got -1.0; {ABOVE_0}"),
        (lambda: Skip(patience=torch.inf), f"patience: got inf; {WHOLE}"),
        (lambda: Normalize(0.0), f"value: got 0.0; {ABOVE_0}"),
        (lambda: ParameterNorm(-1), f"value: got -1; {ABOVE_0}"),
        (lambda: NormValue(norm=0, value=1), f"norm: got 0; {ABOVE_0}"),
        (lambda: Value(1.0, lower=2.0), "lower: got 2.0; must be from -inf to 0"),
        (lambda: Adaptive(eps=0.0), f"eps: got 0.0; {ABOVE_0}"),
        (lambda: Auto(101.0), "value: got 101.0; must be from 0 to 100"),
        (lambda: Auto(history=0), "history: got 0; must be a whole number from 1 to 1000000"),
        (lambda: Auto(-0.5), "value: got -0.5; must be from 0 to 100"),
        (lambda: ZScore(alpha=1.0), f"alpha: got 1.0; {SHARE}"),
        (lambda: ZScore(warmup=0), f"warmup: got 0; {WHOLE}"),
        (lambda: ParameterEMA(beta=-0.1), f"beta: got -0.1; {SHARE}"),
        (lambda: Skip(0.0), f"value: got 0.0; {ABOVE_0}"),
        (lambda: Skip(patience=1.5), f"patience: got 1.5; {WHOLE}"),
        (lambda: Scheduled(Norm(1.0), steps=0), f"steps: got 0; {WHOLE}"),
        (lambda: Scheduled(Norm(1.0), end=-1.0), f"end: got -1.0; {ABOVE_0}"),
        (lambda: Scheduled(Skip()), "clipper: got Skip(value=None, patience=10); must have a threshold called value"),
    ],
)
def test_an_invalid_argument_is_refused_with_its_value_and_the_allowed_range(make, message):
    with pytest.raises(ClippingError) as caught:
        make()
    assert str(caught.value) == message


def test_a_schedule_of_a_chain_is_refused():
    with pytest.raises(ClippingError, match="must have a threshold called value"):
        Scheduled(Chain(Norm(1.0)))


def test_a_tensor_may_contain_a_threshold_for_each_replica():
    def clip(threshold, gradient):
        return Norm(threshold)({"only": gradient}, {}, {})[0]["only"]

    clipped = torch.vmap(clip)(torch.tensor([1.0, 2.0]), torch.tensor([[3.0, 4.0], [3.0, 4.0]]))
    torch.testing.assert_close(clipped, torch.tensor([[0.6, 0.8], [1.2, 1.6]]))
