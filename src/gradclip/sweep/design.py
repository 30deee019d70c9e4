"""The design of a multirun: its numbers of jobs, groups and seeds, and what its comparison can detect."""

from math import prod
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from gradclip.terminal import print_lines
from gradclip.tracking.records import MULTIRUN_FILE

SEARCH = "hydra_plugins.search_sweeper.SearchSweeper"  # its jobs are not known in advance


def print_design(folder: Path) -> None:
    """Print what the comparison of a multirun can detect; nothing for a search or a single group.

    The first job calls this, once its settings are valid.
    """
    groups, seeds = count_groups(_overrides_of(folder) or [])
    if groups > 1:
        from gradclip.compare.design import design_sentence

        print_lines(f"{groups} groups: {design_sentence(seeds)}")


def count_jobs(folder: Path) -> int | None:
    """Return the number of jobs of a multirun; None for a search, whose jobs are not known in advance."""
    overrides = _overrides_of(folder)
    return None if overrides is None else prod(_counts(overrides).values())


def count_groups(overrides: list[Override]) -> tuple[int, int]:
    """Return the numbers of groups on one data set and of seeds per group; a setting that is set twice counts once."""
    from gradclip.config.identity import PREPARATION

    counts = _counts(overrides)
    seeds = counts.pop("seed", 1)
    choosing_data = {
        name for name in counts if name == "data" or (name.startswith("data.") and name not in PREPARATION)
    }
    return prod(count for name, count in counts.items() if name not in choosing_data), seeds


def _overrides_of(folder: Path) -> list[Override] | None:
    """Return the overrides of a multirun, starting with those in its config; None for a search."""
    config = OmegaConf.load(folder / MULTIRUN_FILE)
    if config.hydra.sweeper.get("_target_") == SEARCH:
        return None
    params = config.hydra.sweeper.get("params") or {}
    typed = [*(f"{name}={values}" for name, values in params.items()), *config.hydra.overrides.task]
    started = GlobalHydra.instance()
    loader = started.config_loader() if started.is_initialized() else None  # lists the options of a glob in the config
    parsed: list[Override] = OverridesParser.create(config_loader=loader).parse_overrides(typed)
    return parsed


def _counts(overrides: list[Override]) -> dict[str, int]:
    """Return the number of values of each setting; a setting that is set twice counts once."""
    counts = {}
    for override in overrides:
        is_list = override.is_discrete_sweep()  # a grid refuses intervals
        counts[override.get_key_element().lstrip("+")] = len(list(override.sweep_string_iterator())) if is_list else 1
    return counts
