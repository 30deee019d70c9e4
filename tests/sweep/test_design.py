"""The design of a multirun, and what its comparison can detect."""

from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from gradclip.config.paths import CONFIG_FOLDER
from gradclip.sweep.design import count_groups, design_lines, print_design


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


def config(target: str, *typed: str, **params: str) -> DictConfig:
    sweeper = {"_target_": target, "params": params}
    return OmegaConf.create({"hydra": {"sweeper": sweeper, "overrides": {"task": list(typed)}}})


def test_a_sweep_reports_in_advance_what_its_comparison_can_detect() -> None:
    (line,) = design_lines(config("hydra.BasicSweeper", "seed=0,1", **{"clip.value": "1,2,3", "seed": "range(9)"}))
    assert line.startswith("3 groups: 2 seeds cannot show a difference at the 5% level")


def test_a_glob_in_the_config_of_a_sweep_counts_the_options_that_it_matches() -> None:
    sweep = config("hydra.BasicSweeper", clip="glob(norm*)", seed="0,1")
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        (line,) = design_lines(sweep)
    assert line.startswith("3 groups: 2 seeds")


def test_nothing_is_reported_for_a_single_group_or_a_search() -> None:
    assert design_lines(config("hydra.BasicSweeper", "seed=0,1")) == []
    assert design_lines(config("hydra_plugins.search_sweeper.SearchSweeper", "clip.value=interval(1,2)")) == []


def test_a_single_group_prints_no_empty_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    OmegaConf.save(config("hydra.BasicSweeper", "seed=0,1"), tmp_path / "multirun.yaml")
    print_design(tmp_path)
    assert capsys.readouterr().out == ""
