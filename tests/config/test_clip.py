"""The settings of clipping methods are derived from the clippers, and both accept the same numbers."""

import pickle
import subprocess
import sys
from dataclasses import fields

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from gradclip.clipping.base import Clipper
from gradclip.clipping.build import METHODS, make_clipper
from gradclip.config import clip
from gradclip.config.clip import FIXED_SETTINGS, ClipSettings, GroupsClip
from gradclip.config.paths import CONFIG_FOLDER
from gradclip.errors import ClippingError
from gradclip.ranges import Range


def yaml_of(method):
    return yaml.safe_load((CONFIG_FOLDER / "clip" / f"{method}.yaml").read_text())


def settings(method, **changed):
    return TypeAdapter(ClipSettings).validate_python(yaml_of(method) | changed)


def test_settings_are_derived_without_torch():
    code = "import sys, gradclip.config.clip; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("method", METHODS)
def test_a_methods_settings_are_the_fields_of_its_clipper_and_a_parameter_pattern(method):
    own = {field.name for field in fields(METHODS[method])}
    pattern = set() if method in {"none", "skip"} else {"parameters"}
    assert set(type(settings(method)).model_fields) == own | pattern | {"name", "value"}
    assert not any(
        field.default_factory or not field.is_required() for field in type(settings(method)).model_fields.values()
    )


@pytest.mark.parametrize(
    ("method", "changed", "label", "thresholds"),
    [
        ("none", {}, "none", {}),
        ("none", {"value": 3.0}, "none", {}),
        ("norm", {}, "norm=1.0", {"norm": 1.0}),
        ("norm", {"order": 1.0}, "norm=1.0", {}),
        ("norm", {"parameters": "*weight"}, "norm=1.0", {}),
        ("value", {"value": 2}, "value=2.0", {"value": 2.0}),
        ("norm_value", {}, "norm_value=5.0,1.0", {"norm": 5.0, "value": 1.0}),
        ("normalize", {}, "normalize=1.0", {"norm": 1.0}),
        ("normalize", {"parameters": "*weight"}, "normalize=1.0", {}),
        ("parameter_norm", {}, "parameter_norm=1.0", {}),
        ("zscore", {}, "zscore=2.5", {}),
        ("skip", {}, "skip", {}),
        ("skip", {"value": 300}, "skip=300.0", {}),
        ("groups", {}, "groups=1.0", {}),
        ("activation", {}, "activation=10.0", {}),
    ],
)
def test_the_label_and_the_fixed_limits_follow_the_settings(method, changed, label, thresholds):
    assert settings(method, **changed).label == label
    assert settings(method, **changed).thresholds == thresholds


NUMBERS = [
    (method, field.name)
    for method, clipper in METHODS.items()
    for field in fields(clipper)
    if any(isinstance(mark, Range) for mark in getattr(field.type, "__metadata__", ()))
]


def library_accepts(method, name, value):
    values = {field.name: yaml_of(method)[field.name] for field in fields(METHODS[method])} | {name: value}
    try:
        return isinstance(make_clipper(method, **values), Clipper)
    except ClippingError:
        return False


def config_accepts(method, name, value):
    try:
        return bool(settings(method, **{name: value}))
    except ValidationError:
        return False


@pytest.mark.parametrize(("method", "name"), NUMBERS)
@pytest.mark.parametrize("value", [-1.0, 0.0, 0.5, 1.0, 2.0, 100.0, 101.0, 1e6, 1e6 + 1, float("nan"), "high"])
def test_library_and_config_accept_the_same_numbers(method, name, value):
    assert config_accepts(method, name, value) == library_accepts(method, name, value)


@pytest.mark.parametrize(("method", "name"), NUMBERS)
def test_only_the_order_of_a_norm_may_be_infinite_in_a_config(method, name):
    assert config_accepts(method, name, float("inf")) == (name == "order")


def test_library_and_config_accept_percentile_zero():
    assert settings("auto", value=0).value == 0.0
    assert make_clipper("auto", value=0).value == 0


def test_methods_with_one_threshold_can_be_grouped():
    grouped = ["norm", "value", "parameter_norm", "normalize", "adaptive", "zscore", "parameter_ema"]
    grouped += ["spike", "stabilize", "spectral"]
    assert [
        method for method in METHODS if GroupsClip.model_fields["method"].annotation.__args__.count(method)
    ] == grouped
    assert all(make_clipper(method, value=1.0) for method in grouped)


def test_settings_that_choose_the_computation_are_fixed_for_stacked_replicas():
    assert {"order", "history", "exact"} == FIXED_SETTINGS


@pytest.mark.parametrize("method", METHODS)
def test_settings_can_be_pickled_for_other_processes(method):
    chosen = settings(method)
    assert pickle.loads(pickle.dumps(chosen)) == chosen
    assert type(chosen) is getattr(clip, type(chosen).__name__)


def test_a_group_pattern_that_is_given_twice_is_refused():
    groups = [{"parameters": "network.2.*", "value": value} for value in (1.0, 5.0)]
    with pytest.raises(ValidationError, match=r"groups: got the pattern 'network.2.\*' twice; each pattern has one"):
        settings("groups", groups=groups)
