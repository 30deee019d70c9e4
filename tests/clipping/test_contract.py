"""The contract of all clipping methods; a test names the exceptions, and new methods are tested without a change."""

from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gradclip.clipping import method_table
from gradclip.clipping.base import Clipper
from gradclip.clipping.build import BACKWARD_METHODS, METHODS, make_clipper
from gradclip.clipping.chain import Chain
from gradclip.config.clip import DECLARED
from gradclip.norms.tensors import global_norm
from gradclip.norms.units import unit_norms
from gradclip.ranges import Range

CONFIGS = Path(__file__).parents[2] / "conf" / "clip"
SHAPES = {"scalar": (), "bias": (3,), "weight": (3, 4), "cube": (2, 3, 2), "kernel": (2, 1, 3, 2), "empty": (0, 3)}
SLACK = {torch.float32: 1e-6, torch.float64: 1e-6, torch.bfloat16: 2**-7}  # for bfloat16, its machine epsilon
NAMES = [*METHODS, "groups"]
SKIPPING = [name for name, clipper in METHODS.items() if clipper.may_skip]
WARMING_UP = [name for name, clipper in METHODS.items() if "warmup" in {field.name for field in fields(clipper)}]
SHORT_WARMUP = {name: {"warmup": 5} for name in WARMING_UP} | {"skip": {"value": 50.0}}

every_method = pytest.mark.parametrize("name", NAMES)
every_type = pytest.mark.parametrize(
    ("dtype", "scale"), [(torch.float32, 1e3), (torch.float64, 1e-3), (torch.bfloat16, 1.0)]
)


def all_but(*names):
    return pytest.mark.parametrize("name", [name for name in NAMES if name not in names])


def only(*names):
    return pytest.mark.parametrize("name", names)


def make(name, **changed):
    """Return a method with the settings of its YAML file, some of them changed."""
    chosen = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    if name == "none":
        del chosen["value"]
    if name == "groups":
        chosen["groups"] = [{"parameters": "w*", "value": 10.0}]
    return make_clipper(**chosen | changed)


def draw(scale=1.0, dtype=torch.float32, seed=0, leading=()):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (scale * torch.randn((*leading, *shape), generator=generator, dtype=torch.float64)).to(dtype)
        for name, shape in SHAPES.items()
    }


def clip(clipper, gradients, parameters=None):
    parameters = gradients if parameters is None else parameters
    clipped, _, report = clipper(gradients, parameters, clipper.init(parameters))
    return clipped, report


def flat(gradients):
    return torch.cat([gradient.flatten() for gradient in gradients.values()])


def exact_norm(gradients):
    return np.sqrt(sum(np.square(gradient.double().numpy()).sum() for gradient in gradients.values()))


def same_bits(first, second):
    return all(torch.equal(first[name], second[name]) for name in second)


def largest_ratio(name, clipped, parameters):
    """Return the largest ratio of a clipped quantity to its limit after the first step; it must be at most 1."""
    norms = {key: exact_norm({key: gradient}) for key, gradient in clipped.items()}
    match name:
        case "parameter_ema":  # its limit during warm-up is a global norm of 1
            return exact_norm(clipped)
        case "parameter_norm":
            return max(norms.values())
        case "groups":
            return max(norms["weight"] / 10.0, exact_norm({k: v for k, v in clipped.items() if k != "weight"}))
        case "adaptive":
            keys = [key for key in clipped if clipped[key].numel()]
            own, weights = (unit_norms([of[key].double() for key in keys]) for of in (clipped, parameters))
            return (own / (0.01 * weights.clamp(min=1e-3))).max().item()
        case _:
            sizes = {"norm": exact_norm(clipped), "value": flat(clipped).abs().max().item()}
            clipper = make(name)
            return max(sizes[quantity] / getattr(clipper, field) for quantity, field in clipper.limits.items())


def test_every_method_has_a_config_and_every_config_a_method():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == {*NAMES} | BACKWARD_METHODS


@pytest.mark.parametrize("name", METHODS)
def test_the_settings_read_from_the_source_equal_the_fields_of_the_clipper(name):
    clipper, declared = METHODS[name], DECLARED[name]
    assert clipper.__name__ == method_table()[name]
    assert [field.name for field in fields(declared)] == [field.name for field in fields(clipper)]
    for constant in ("may_skip", "limits", "limits_when"):
        assert getattr(declared, constant, getattr(Clipper, constant)) == getattr(clipper, constant)


@pytest.mark.parametrize("name", METHODS)
def test_every_number_has_a_range(name):
    for field, hint in get_type_hints(METHODS[name], include_extras=True).items():
        is_number = "float" in str(hint) or "int" in str(hint)
        marks = getattr(hint, "__metadata__", ())
        assert is_number == any(isinstance(mark, Range) for mark in marks) or "ClassVar" in str(hint), field


@every_method
@every_type
def test_inputs_are_unchanged(name, dtype, scale):
    gradients, parameters, clipper = draw(scale, dtype), draw(1.0, dtype, seed=1), make(name)
    state = clipper.init(parameters)
    inputs = (gradients, parameters, state)
    copies = [{key: tensor.clone() for key, tensor in tensors.items()} for tensors in inputs]
    clipper(*inputs)
    for tensors, copy in zip(inputs, copies, strict=True):
        torch.testing.assert_close(tensors, copy, rtol=0, atol=0, equal_nan=True)


@every_method
@every_type
def test_names_shapes_and_types_are_kept(name, dtype, scale):
    gradients = draw(scale, dtype)
    clipped, report = clip(make(name), gradients)
    assert list(clipped) == list(gradients)
    assert all(clipped[key].shape == gradients[key].shape for key in gradients)
    assert {gradient.dtype for gradient in clipped.values()} == {dtype}
    assert {scalar.shape for scalar in report} == {torch.Size()}
    assert report.clipped.dtype == report.skipped.dtype == torch.bool


@all_but("normalize", "stabilize")
@every_type
def test_gradients_below_the_thresholds_are_unchanged_bit_for_bit(name, dtype, scale):
    gradients = draw(1e-6 * min(scale, 1.0), dtype)
    clipped, report = clip(make(name), gradients, draw(1.0, dtype, seed=1))
    assert same_bits(clipped, gradients)
    assert not report.clipped
    assert report.norm == report.norm_clipped


@only(*[name for name in METHODS if METHODS[name].limits], "parameter_norm", "groups", "adaptive", "parameter_ema")
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        (torch.float32, 10.0),
        (torch.float32, 1e20),
        (torch.float64, 1e3),
        (torch.bfloat16, 10.0),
        (torch.bfloat16, 1e20),
    ],
)
def test_gradients_above_the_thresholds_are_clipped_to_the_limits(name, dtype, scale):
    parameters = draw(1.0, dtype, seed=1)
    clipped, report = clip(make(name), draw(scale, dtype), parameters)
    assert largest_ratio(name, clipped, parameters) == pytest.approx(1.0, rel=0.02)
    assert largest_ratio(name, clipped, parameters) <= 1 + 2 * SLACK[dtype]
    assert report.clipped


@every_method
@pytest.mark.parametrize(
    ("dtype", "scale"), [(torch.float32, 0.01), (torch.float32, 1e20), (torch.float64, 1.0), (torch.bfloat16, 1e3)]
)
def test_the_report_contains_the_norms_before_and_after(name, dtype, scale):
    gradients = draw(scale, dtype)
    clipped, report = clip(make(name), gradients)
    assert report.norm.item() == pytest.approx(exact_norm(gradients), rel=1e-5)
    assert report.norm_clipped.item() == pytest.approx(exact_norm(clipped), rel=1e-5)
    assert report.norm_clipped == global_norm([*clipped.values()])
    assert bool(report.clipped) != same_bits(clipped, gradients)


def test_the_report_detects_one_slightly_clipped_element_among_many():
    for others in range(1, 100):
        gradients = {"weight": torch.full((others + 1,), 5.0)}
        gradients["weight"][0] *= 1.0000001
        clipped, report = clip(make("value"), gradients)
        assert not same_bits(clipped, gradients)
        assert report.clipped


@all_but("groups")  # its patterns must match a parameter
def test_an_empty_set_of_gradients_is_accepted(name):
    clipped, report = clip(make(name), {})
    assert clipped == {}
    assert [bool(scalar) for scalar in report] == [False] * 4


@every_method
def test_zero_gradients_stay_zero(name):
    gradients = draw(0.0)
    clipped, report = clip(make(name), gradients)
    assert same_bits(clipped, gradients)
    assert [bool(scalar) for scalar in report] == [False] * 4


@every_method
@pytest.mark.parametrize("shape", [(), (0,), (1, 1, 1, 1)])
def test_a_single_gradient_of_any_shape_is_accepted(name, shape):
    clipped, _ = clip(make(name), {"weight": torch.full(shape, 1e6)})
    assert clipped["weight"].shape == shape


@all_but(*SKIPPING)
def test_nan_is_never_hidden(name):
    gradients = draw()
    gradients["bias"][1] = torch.nan
    clipped, report = clip(make(name), gradients)
    assert clipped["bias"][1].isnan()
    assert report.norm.isnan()
    assert report.norm_clipped.isnan()


@all_but("none", *SKIPPING)
@pytest.mark.parametrize("infinite", [torch.inf, -torch.inf])
def test_infinity_is_reported_and_removed(name, infinite):
    gradients = draw()
    gradients["bias"][1] = infinite
    clipped, report = clip(make(name), gradients)
    assert report.norm == torch.inf
    assert not flat(clipped).isinf().any()


@only("zscore", "auto", "quantile")
def test_an_infinite_element_becomes_nan_and_the_others_become_zero(name):
    gradients = draw()
    gradients["bias"][1] = torch.inf
    clipped, _ = clip(make(name), gradients)
    assert clipped["bias"][1].isnan()
    assert flat(clipped).nan_to_num().count_nonzero() == 0


@only("spike", "stabilize")
def test_a_non_finite_gradient_affects_only_its_own_tensor(name):
    bad, good = {"bad": torch.tensor([torch.inf, 1.0])}, {"good": torch.tensor([2.0])}
    clipped, _ = clip(make(name), bad | good)
    torch.testing.assert_close(clipped["bad"], torch.tensor([torch.nan, 0.0]), equal_nan=True)
    assert same_bits(clipped, clip(make(name), good)[0])


@every_method
@pytest.mark.parametrize("scale", [1e-3, 10.0, 1e20])
def test_the_direction_is_kept_unless_the_method_declares_a_change(name, scale):
    clipper, gradients = make(name), draw(scale, torch.float64)
    clipped, _ = clip(clipper, gradients, draw(1.0, torch.float64, seed=1))
    cosine = torch.cosine_similarity(flat(gradients) / scale, flat(clipped) / flat(clipped).norm(), dim=0)
    assert clipper.changes_direction or cosine.item() == pytest.approx(1.0, abs=1e-12)


def steps_of(count, leading=()):
    """Return the gradients of several steps, some of which are spikes."""
    return [draw(100.0 if step % 7 == 6 else 1.0 + 0.1 * step, seed=step, leading=leading) for step in range(count)]


def follow(clipper, steps, parameters):
    """Return the clipped gradients and the state after each step."""
    state, trail = clipper.init(parameters), []
    for gradients in steps:
        clipped, state, _ = clipper(gradients, parameters, state)
        trail.append((clipped, state))
    return trail


@only(*[name for name in METHODS if METHODS[name].changes_direction], "groups")
def test_methods_that_declare_a_change_of_direction_change_it(name):
    clipper, parameters, steps = make(name, **SHORT_WARMUP.get(name, {})), draw(seed=99), steps_of(14)
    pairs = zip(steps, follow(clipper, steps, parameters), strict=True)
    cosines = [torch.cosine_similarity(flat(before), flat(after), dim=0) for before, (after, _) in pairs]
    assert min(cosines) < 0.999


@every_method
def test_the_state_keeps_its_names_shapes_and_types(name):
    clipper, parameters = make(name, **SHORT_WARMUP.get(name, {})), draw(seed=99)
    before = clipper.init(parameters)
    for _, state in follow(clipper, steps_of(10), parameters):
        assert {key: (value.shape, value.dtype) for key, value in state.items()} == {
            key: (value.shape, value.dtype) for key, value in before.items()
        }


@every_method
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("after", [2, 12], ids=["warming up", "warmed up"])
def test_a_non_finite_gradient_does_not_affect_later_steps(name, bad, after):
    clipper, parameters, steps = make(name, **SHORT_WARMUP.get(name, {})), draw(seed=99), steps_of(20)
    poisoned = draw(seed=100)
    poisoned["weight"][1, 2] = bad
    healthy = follow(clipper, steps, parameters)
    hurt = follow(clipper, [*steps[:after], poisoned, *steps[after:]], parameters)
    for (clipped, state), (clipped_later, state_later) in zip(healthy[after:], hurt[after + 1 :], strict=True):
        assert same_bits(clipped, clipped_later)
        remembered = {key: value for key, value in state.items() if key != "skipped"}  # the count of skipped updates
        torch.testing.assert_close(
            remembered, {key: state_later[key] for key in remembered}, rtol=0, atol=0, equal_nan=True
        )


@every_method
@pytest.mark.parametrize("special", [None, torch.nan, torch.inf, 0.0])
def test_vmap_over_replicas_equals_a_loop_over_replicas(name, special):
    replicas, clipper = 3, make(name, **SHORT_WARMUP.get(name, {}))
    steps, parameters = steps_of(9, leading=(replicas,)), draw(seed=99, leading=(replicas,))
    for gradients in steps:
        for gradient in gradients.values():
            gradient[...] *= torch.tensor([0.01, 1.0, 1e20]).reshape(-1, *[1] * (gradient.ndim - 1))
    if special is not None:
        steps[6]["bias"][1, 0] = special
    one = [{key: value[replica] for key, value in parameters.items()} for replica in range(replicas)]
    states = [clipper.init(own) for own in one]
    state = {key: torch.stack([own[key] for own in states]) for key in states[0]}
    for gradients in steps:
        together, state, report = torch.vmap(clipper)(gradients, parameters, state)
        for replica in range(replicas):
            alone = {key: value[replica] for key, value in gradients.items()}
            clipped, states[replica], done = clipper(alone, one[replica], states[replica])
            same = {"rtol": 1e-5, "atol": 1e-7, "equal_nan": True}
            torch.testing.assert_close({key: value[replica] for key, value in together.items()}, clipped, **same)
            torch.testing.assert_close([scalar[replica] for scalar in report], list(done), **same)
            torch.testing.assert_close({key: value[replica] for key, value in state.items()}, states[replica], **same)


@all_but("normalize", "stabilize")
@settings(max_examples=30)
@given(
    values=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=12),
    split=st.integers(0, 12),
)
def test_no_element_of_finite_gradients_grows_or_changes_its_sign(name, values, split):
    gradients = {"weight": torch.tensor(values)[:split], "bias": torch.tensor(values)[split:]}
    clipped, report = clip(make(name), gradients)
    before, after = flat(gradients), flat(clipped)
    assert (after * before.sign() >= 0).all()
    assert (after.abs() <= before.abs()).all()
    assert report.norm_clipped <= report.norm * (1 + 1e-6)


@only("norm", "value", "norm_value", "parameter_norm", "normalize", "groups")
@settings(max_examples=15)
@given(st.lists(st.floats(-1e6, 1e6, width=32, allow_subnormal=False), min_size=1, max_size=8))
def test_clipping_twice_equals_clipping_once(name, values):
    clipper = make(name)
    once, _ = clip(clipper, {"weight": torch.tensor(values)})
    twice, _ = clip(clipper, once)
    torch.testing.assert_close(twice, once, rtol=1e-6, atol=0.0)


@every_method
def test_a_chain_of_one_method_equals_the_method(name):
    clipper, gradients = make(name), draw(10.0)
    expected, alone = clip(clipper, gradients)
    clipped, chained = clip(Chain(clipper), gradients)
    assert same_bits(clipped, expected)
    assert chained == alone


@all_but("none", "groups")
def test_a_method_can_be_limited_to_parameters_by_name(name):
    gradients, changed = draw(1e3), SHORT_WARMUP.get(name, {})
    clipped, _ = clip(make(name, **changed | {"parameters": "wei*"}), gradients)
    alone, _ = clip(make(name, **changed), {"weight": gradients["weight"]})
    others = {key: gradient for key, gradient in gradients.items() if key != "weight"}
    assert same_bits(clipped, others)
    assert same_bits({"weight": clipped["weight"]}, alone)
