from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Discriminator, TypeAdapter

from gradclip.clipping.chain import Chain
from gradclip.clipping.methods import LIGHTNING_METHODS, METHODS
from gradclip.config import ClipSettings
from gradclip.norms import global_norm

CONFIGS = Path(__file__).parents[2] / "conf" / "clip"
SHAPES = {"scalar": (), "bias": (3,), "weight": (3, 4), "cube": (2, 3, 2), "kernel": (2, 1, 3, 2), "empty": (0, 3)}
TYPES = [torch.float32, torch.float64, torch.bfloat16]
SLACK = {torch.float32: 1e-6, torch.float64: 1e-6, torch.bfloat16: 2**-7}  # the last: half a unit of its precision


def default_settings(name):
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())


def default_clipper(name):
    chosen = {key: value for key, value in default_settings(name).items() if key != "name" and value is not None}
    return METHODS[name](**chosen)


def limits(name):
    """What the config says is limited: of the norm, of each element."""
    adapter = TypeAdapter(Annotated[ClipSettings, Discriminator("name")])
    return adapter.validate_python(default_settings(name)).thresholds


def draw(scale=1.0, dtype=torch.float32, seed=0, leading=()):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (scale * torch.randn((*leading, *shape), generator=generator, dtype=torch.float64)).to(dtype)
        for name, shape in SHAPES.items()
    }


def clip(clipper, gradients):
    clipped, _, report = clipper(gradients, gradients, clipper.init(gradients))
    return clipped, report


def exact_norm(gradients):
    return np.sqrt(sum(np.square(gradient.double().numpy()).sum() for gradient in gradients.values()))


def same_bits(first, second):
    return all(torch.equal(first[name], second[name]) for name in second)


def assert_within_limits(name, clipped, slack=1e-6):
    allowed = limits(name)
    assert exact_norm(clipped) <= allowed.get("norm", np.inf) * (1 + slack)
    largest = max((gradient.abs().max().item() for gradient in clipped.values() if gradient.numel()), default=0.0)
    assert largest <= allowed.get("value", np.inf)


every_method = pytest.mark.parametrize("name", METHODS)
every_type = pytest.mark.parametrize("dtype", TYPES)


def test_every_method_has_a_config_and_every_config_a_method():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == set(METHODS)
    assert set(METHODS) >= LIGHTNING_METHODS


@every_method
@every_type
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_inputs_are_unchanged(name, dtype, scale):
    gradients, parameters = draw(scale, dtype), draw(1.0, dtype, seed=1)
    copies = [{key: tensor.clone() for key, tensor in tensors.items()} for tensors in (gradients, parameters)]
    clipper = default_clipper(name)
    clipper(gradients, parameters, clipper.init(parameters))
    assert same_bits(gradients, copies[0])
    assert same_bits(parameters, copies[1])


@every_method
@every_type
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_names_shapes_and_types_are_kept(name, dtype, scale):
    gradients = draw(scale, dtype)
    clipped, report = clip(default_clipper(name), gradients)
    assert list(clipped) == list(gradients)
    assert all(clipped[key].shape == gradients[key].shape for key in gradients)
    assert {gradient.dtype for gradient in clipped.values()} == {dtype}
    assert {scalar.shape for scalar in report} == {torch.Size()}
    assert report.clipped.dtype == torch.bool


@every_method
@every_type
def test_nothing_changes_below_the_thresholds_to_the_bit(name, dtype):
    gradients = draw(0.01, dtype)
    clipped, report = clip(default_clipper(name), gradients)
    assert same_bits(clipped, gradients)
    assert not report.clipped
    assert report.norm == report.norm_clipped


@every_method
@every_type
@pytest.mark.parametrize("scale", [10.0, 1e3, 1e20])
def test_limits_hold_above_the_thresholds(name, dtype, scale):
    clipped, report = clip(default_clipper(name), draw(scale, dtype))
    assert_within_limits(name, clipped, SLACK[dtype])
    assert bool(report.clipped) == (name != "none")


@every_method
@every_type
@pytest.mark.parametrize("scale", [0.01, 1.0, 1e3, 1e20])
def test_report_holds_the_norms_before_and_after(name, dtype, scale):
    gradients = draw(scale, dtype)
    clipped, report = clip(default_clipper(name), gradients)
    assert report.norm.item() == pytest.approx(exact_norm(gradients), rel=1e-5)
    assert report.norm_clipped.item() == pytest.approx(exact_norm(clipped), rel=1e-5)
    assert bool(report.clipped) != same_bits(clipped, gradients)


def test_report_sees_one_slightly_cut_element_among_many():
    value = limits("value")["value"]
    unnoticed = []
    for others in range(1, 100):
        gradients = {"weight": torch.full((others + 1,), value)}
        gradients["weight"][0] *= 1.0000001
        clipped, report = clip(default_clipper("value"), gradients)
        assert not same_bits(clipped, gradients)
        if not report.clipped:
            unnoticed.append(others)
    assert unnoticed == []


@every_method
def test_no_gradients_at_all(name):
    clipped, report = clip(default_clipper(name), {})
    assert clipped == {}
    assert (report.norm, report.norm_clipped, bool(report.clipped)) == (0.0, 0.0, False)


@every_method
def test_zero_gradients_stay_zero(name):
    gradients = draw(0.0)
    clipped, report = clip(default_clipper(name), gradients)
    assert same_bits(clipped, gradients)
    assert (report.norm, report.norm_clipped, bool(report.clipped)) == (0.0, 0.0, False)


@every_method
@pytest.mark.parametrize("shape", [(), (0,), (1, 1, 1, 1)])
def test_a_single_gradient_of_any_shape(name, shape):
    gradients = {"only": torch.full(shape, 1e6)}
    clipped, _ = clip(default_clipper(name), gradients)
    assert clipped["only"].shape == shape
    assert_within_limits(name, clipped)


@every_method
def test_nan_is_never_hidden(name):
    gradients = draw()
    gradients["bias"][1] = torch.nan
    clipped, report = clip(default_clipper(name), gradients)
    assert clipped["bias"][1].isnan()
    assert report.norm.isnan()
    assert report.norm_clipped.isnan()


def test_no_clipping_reports_nothing_clipped_even_of_nan():
    _, report = clip(default_clipper("none"), {"bias": torch.tensor([torch.nan, 1.0])})
    assert not report.clipped


@every_method
@pytest.mark.parametrize("infinite", [torch.inf, -torch.inf])
def test_infinity_is_reported_and_leaves_no_infinity_behind_a_clipper(name, infinite):
    gradients = draw()
    gradients["bias"][1] = infinite
    clipped, report = clip(default_clipper(name), gradients)
    assert report.norm == torch.inf
    left = torch.cat([gradient.flatten() for gradient in clipped.values()])
    assert bool(left.isinf().any()) == (name == "none")


@every_method
@pytest.mark.parametrize("special", [None, torch.nan, torch.inf, 0.0])
def test_vmap_over_replicas_equals_a_loop(name, special):
    replicas, clipper = 4, default_clipper(name)
    stacked = draw(leading=(replicas,))
    for place, scale in enumerate([0.01, 1.0, 1e3, 1e20]):
        for gradient in stacked.values():
            gradient[place] *= scale
    if special is not None:
        stacked["bias"][1, 0] = special
    together = torch.vmap(lambda gradients: clipper(gradients, gradients, {}))(stacked)
    for replica in range(replicas):
        alone = clip(clipper, {key: gradient[replica] for key, gradient in stacked.items()})
        of_replica = {key: gradient[replica] for key, gradient in together[0].items()}
        torch.testing.assert_close(of_replica, alone[0], equal_nan=True)
        torch.testing.assert_close([scalar[replica] for scalar in together[2]], list(alone[1]), equal_nan=True)


@every_method
@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    values=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=12),
    split=st.integers(0, 12),
)
def test_any_finite_gradients_end_within_the_limits_with_no_sign_turned_and_none_grown(name, values, split):
    flat = torch.tensor(values)
    gradients = {"first": flat[:split], "second": flat[split:]}
    clipped, report = clip(default_clipper(name), gradients)
    after = torch.cat([*clipped.values()])
    assert_within_limits(name, clipped)
    assert (after * flat.sign() >= 0).all()
    assert (after.abs() <= flat.abs()).all()
    assert report.norm_clipped <= report.norm * (1 + 1e-6)


@every_method
@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=8))
def test_clipping_twice_is_clipping_once(name, values):
    clipper = default_clipper(name)
    once, _ = clip(clipper, {"weight": torch.tensor(values)})
    twice, _ = clip(clipper, once)
    torch.testing.assert_close(twice, once, rtol=1e-6, atol=0.0)


@every_method
def test_a_chain_of_one_is_that_method(name):
    clipper, gradients = default_clipper(name), draw(10.0)
    expected, alone = clip(clipper, gradients)
    clipped, chained = clip(Chain(clipper), gradients)
    assert same_bits(clipped, expected)
    assert chained == alone


@every_method
def test_norm_after_is_the_global_norm_of_what_is_returned(name):
    clipped, report = clip(default_clipper(name), draw(7.0))
    assert report.norm_clipped == global_norm([*clipped.values()])
