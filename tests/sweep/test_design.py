"""A multirun says before it begins what its comparison can detect."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from gradclip.config.paths import CONFIG_FOLDER
from gradclip.sweep.design import count_groups, print_design


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["clip=norm,value", "clip.value=0.1,1,10", "seed=0,1,2"], (6, 3)),
        (["+experiment=a,b", "seed=range(10)"], (2, 10)),
        (["clip.value=1,2,3", "seed=range(5)", "clip.value=1", "seed=0"], (1, 1)),  # the last override counts
        (["data.length=10,20", "data.scale_target=none,standard", "data=adding,copy"], (2, 1)),  # compared per data set
        (["clip.value=interval(1,2)"], (1, 1)),
        ([], (1, 1)),
    ],
)
def test_groups_and_seeds_are_counted(typed: list[str], expected: tuple[int, int]) -> None:
    assert count_groups(OverridesParser.create().parse_overrides(typed)) == expected


@pytest.fixture
def design(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that returns what is printed on the design of a multirun."""

    def design(target: str, *typed: str, **params: str) -> str:
        hydra = {"sweeper": {"_target_": target, "params": params}, "overrides": {"task": list(typed)}}
        OmegaConf.save({"hydra": hydra}, tmp_path / "multirun.yaml")
        print_design(tmp_path)
        return capsys.readouterr().out

    return design


def test_a_sweep_reports_in_advance_what_its_comparison_can_detect(design: Callable[..., str]) -> None:
    printed = design("hydra.BasicSweeper", "seed=0,1", **{"clip.value": "1,2,3", "seed": "range(9)"})
    assert printed.startswith("3 groups: 2 seeds cannot show a difference at the 5% level")


def test_nothing_is_printed_for_a_single_group_or_a_search(design: Callable[..., str]) -> None:
    assert design("hydra.BasicSweeper", "seed=0,1") == ""
    assert design("hydra_plugins.search_sweeper.SearchSweeper", "clip.value=interval(1,2)") == ""


def test_a_glob_in_the_config_of_a_sweep_counts_the_options_that_it_matches(design: Callable[..., str]) -> None:
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        assert design("hydra.BasicSweeper", clip="glob(norm*)", seed="0,1").startswith("3 groups: 2 seeds")
