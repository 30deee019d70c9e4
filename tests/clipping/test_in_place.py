"""Clipping in place equals the pure transform for all clippers; new methods are tested without a change."""

from functools import partial

import pytest
import torch

from gradclip import Auto, Chain, Norm, ParameterNorm, Scheduled, Skip, Value
from gradclip.clipping.base import Clipper
from tests.clipping.test_contract import NAMES, SHORT_WARMUP, draw, make

CLIPPERS = {name: partial(make, name, **SHORT_WARMUP.get(name, {})) for name in NAMES} | {
    "chain": lambda: Chain(Skip(50.0), Norm(1.0), Value(0.1)),
    "scheduled value": lambda: Scheduled(Value(1.0, lower=-0.5), end=0.1, steps=4),
    "scheduled skip": lambda: Scheduled(Skip(50.0), end=0.1, steps=4),
    "history of three norms": lambda: Auto(50.0, history=3),
    "norm of order 1": lambda: Norm(1.0, order=1.0),
    "norm of order inf": lambda: Norm(1.0, order=torch.inf),
}
TYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64]
SPECIAL = {"nan": torch.nan, "inf": torch.inf, "zero": 0.0, "huge": 1e30, "vanishing": 1e-30}

every_clipper = pytest.mark.parametrize("name", CLIPPERS)


class Halving(Clipper):
    """A method that does not override clip_in_place."""

    def transform(self, gradients, parameters, state):
        return {name: gradient / 2 for name, gradient in gradients.items()}, state


def steps(dtype, special=None, count=8):
    """Return gradients of some steps; the last but one is a spike, and the middle one may contain a special number."""
    made = [draw(100.0 if step == count - 2 else 1.0 + step, dtype, seed=step) for step in range(count)]
    if special is not None:
        made[count // 2]["weight"][1] = special
        made[count // 2]["bias"][0] = special
        made[count // 2]["cube"][:] = special
    return made


def assert_paths_agree(clipper, all_steps, parameters, **tolerance):
    state = in_place_state = clipper.init(parameters)
    for gradients in all_steps:
        changed = {name: gradient.clone() for name, gradient in gradients.items()}
        clipped, state = clipper.transform(gradients, parameters, state)
        in_place_state = clipper.clip_in_place(changed, parameters, in_place_state)
        torch.testing.assert_close(changed, clipped, equal_nan=True, **tolerance)
        torch.testing.assert_close(dict(in_place_state), dict(state), equal_nan=True)


@every_clipper
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_clipping_in_place_equals_the_transform(name, dtype):
    assert_paths_agree(CLIPPERS[name](), steps(dtype), draw(1.0, dtype, seed=99))


@every_clipper
@pytest.mark.parametrize("special", SPECIAL)
def test_clipping_in_place_equals_the_transform_for_special_numbers(name, special):
    number = SPECIAL[special]
    assert_paths_agree(CLIPPERS[name](), steps(torch.float32, number), draw(1.0, seed=99), rtol=1e-6, atol=0)
    if special in {"nan", "inf"}:
        assert_paths_agree(CLIPPERS[name](), steps(torch.float16, number), draw(1.0, torch.float16, seed=99))


def test_clipping_in_place_equals_the_transform_if_the_first_gradient_is_nan():
    for name in ("auto", "zscore", "quantile", "parameter_ema"):
        assert_paths_agree(CLIPPERS[name](), [draw(torch.nan), *steps(torch.float32)], draw(1.0, seed=99))


@every_clipper
def test_clipping_in_place_keeps_the_memory(name):
    clipper, parameters, gradients = CLIPPERS[name](), draw(1.0, seed=99), draw(1e3)
    before = {key: gradient.data_ptr() for key, gradient in gradients.items()}
    clipper.clip_in_place(gradients, parameters, clipper.init(parameters))
    assert {key: gradient.data_ptr() for key, gradient in gradients.items()} == before


@pytest.mark.parametrize("name", [name for name in CLIPPERS if name != "groups"])  # its patterns must match a parameter
def test_an_empty_set_of_gradients_is_accepted(name):
    clipper = CLIPPERS[name]()
    clipper.clip_in_place({}, {}, clipper.init({}))


@pytest.mark.parametrize("clipper", [Norm(9.0), ParameterNorm(9.0), Auto()])
def test_a_step_without_clipping_writes_nothing(clipper):
    gradients = {"weight": torch.ones(1).expand(3)}  # torch refuses to write to an expanded tensor
    clipper.clip_in_place(gradients, gradients, clipper.init(gradients))
    with pytest.raises(RuntimeError, match="single memory location"):
        Norm(0.1).clip_in_place(gradients, gradients, {})


def test_a_method_without_its_own_clip_in_place_copies_its_result_back():
    gradients = {"weight": torch.tensor([2.0, 4.0])}
    weight = gradients["weight"]
    Halving().clip_in_place(gradients, gradients, {})
    assert weight.tolist() == [1.0, 2.0]
