"""Ranges on the command line have Hydra's meaning in the search space of Optuna."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from gradclip.errors import ConfigError
from gradclip.sweep.search.space import Space, read_space


def read(*typed: str) -> Space:
    return read_space(OverridesParser.create().parse_overrides(list(typed)), seed=7)


@pytest.mark.parametrize(
    ("typed", "distribution"),
    [
        ("interval(0.1,10)", FloatDistribution(0.1, 10)),
        ("tag(log,interval(0.1,10))", FloatDistribution(0.1, 10, log=True)),
        ("int(interval(1,10))", IntDistribution(1, 10)),
        ("tag(log,int(interval(1,10)))", IntDistribution(1, 10, log=True)),
        ("range(1,10,3)", IntDistribution(1, 7, step=3)),
        ("range(10,1,-3)", IntDistribution(4, 10, step=3)),
        ("range(0,4000000000)", IntDistribution(0, 3999999999)),
        ("range(0.5,2,0.5)", CategoricalDistribution(["0.5", "1.0", "1.5"])),
        ("choice(norm,value)", CategoricalDistribution(["norm", "value"])),
        ("norm,value", CategoricalDistribution(["norm", "value"])),
        ("[8,8],[16]", CategoricalDistribution(["[8,8]", "[16]"])),
    ],
)
def test_a_range_has_the_same_meaning_as_in_hydra(typed, distribution):
    assert read(f"x={typed}").distributions == {"x": distribution}


def test_seeds_and_fixed_settings_are_not_searched():
    space = read("clip=norm", "clip.value=interval(0.1,1)", "seed=range(3)", "+experiment=explosion")
    assert (space.fixed, space.seeds) == (("clip=norm", "+experiment=explosion"), ("0", "1", "2"))
    assert space.job({"clip.value": "0.5"}, "2") == ["clip=norm", "+experiment=explosion", "clip.value=0.5", "seed=2"]
    assert read("x=1,2").seeds == ("7",)
    assert read("x=1,2", "seed=4").seeds == ("4",)


def test_values_are_short_and_stay_within_their_range():
    space = read("x=interval(0.012344,0.98765)", "n=range(3)", "clip=norm,value")
    assert space.values({"x": 0.0123441, "n": 2, "clip": "norm"}) == {"x": "0.012344", "n": "2", "clip": "norm"}
    assert space.values({"x": 0.98765, "n": 0, "clip": "norm"})["x"] == "0.98765"
    assert space.values({"x": 0.1234567, "n": 0, "clip": "norm"})["x"] == "0.1235"


def test_corners_cover_each_choice_and_each_end_of_a_range():
    jobs = list(read("clip=norm,value", "clip.value=interval(0.1,1)").corners())
    assert jobs[:2] == [[f"clip={name}", "clip.value=0.1", "seed=7"] for name in ("norm", "value")]
    assert [job[1] for job in jobs] == ["clip.value=0.1"] * 3 + ["clip.value=1.0"]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("clip=norm", "nothing to search; give a setting a range, such as 'clip.value="),
        ("x=interval(10,1)", r"x: got interval\(10,1\); the lower end must come first"),
        (
            "x=tag(log,interval(0,1))",
            r"x: got tag\(log,interval\(0,1\)\); the lower end must come first; on a log scale",
        ),
        ("x=tag(lg,interval(1,2))", "x: got the tag 'lg'; choose from log"),
        ("seed=interval(0,3)", r"seed: got interval\(0,3\); must be a list"),
    ],
)
def test_an_invalid_search_space_is_refused(typed, message):
    with pytest.raises(ConfigError, match=message):
        read(typed)
