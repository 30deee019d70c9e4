"""Settings to try next if the best group is at the edge of the values tried."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from gradclip import keys
from gradclip.compare.labels import typed_overrides
from gradclip.compare.summary import Comparison
from gradclip.config.clip import PERCENTILE_METHODS
from gradclip.config.identity import file_digest
from gradclip.config.overrides import (
    is_of_hydra,
    is_of_tracking,
    is_plain,
    launcher_of,
    merge,
    setting_of,
    train_command,
)
from gradclip.errors import ConfigError
from gradclip.formatting import CODE, parse_number
from gradclip.tracking.stored_runs import StoredRun

SCALES = {"clip.value": "threshold", "clip.norm": "threshold of the norm", "optimizer.lr": "learning rate"}
FEWEST_VALUES = 3  # with fewer values, nearly every one is at an edge
SEED_DIGITS = 10  # of the largest seed; Python converts no text of thousands of digits
NEARLY_NONE = 0.005  # fraction of clipped steps that is printed as 0%
OWN_CODE = re.compile(r"(module|data|callbacks\..+)\._target_")  # settings of runs that cannot be stacked


@dataclass(frozen=True)
class Edge:
    """A setting whose value in the best group is the largest or smallest one tried.

    Attributes:
        setting: name of the setting.
        value: its value in the best group.
        is_largest: whether this is the largest value tried; False means the smallest.
    """

    setting: str
    value: float
    is_largest: bool

    @property
    def next_values(self) -> tuple[float, float]:
        """The values half a decade and one decade beyond the edge, rounded."""
        first, second = (3, 10) if self.is_largest else (0.3, 0.1)
        return float(f"{self.value * first:.2g}"), float(f"{self.value * second:.2g}")

    def __str__(self) -> str:
        """Return the edge and the next values as a sentence."""
        end, values = "largest" if self.is_largest else "smallest", " and ".join(f"{one:g}" for one in self.next_values)
        return f"The best group has the {end} {SCALES[self.setting]} tried ({self.value:g}). Try {values}"


def edges(comparison: Comparison) -> list[Edge]:
    """Return the settings for which the best group is at an edge, among the groups with the same clipping method.

    There are none if every group diverged.
    """
    if "clip.name" in comparison.grouping.mixed or not comparison.has_best:
        return []
    settings = [summary.group.runs[0].parameters for summary in comparison.summaries]
    best, method = settings[0], settings[0].get("clip.name")
    is_percentile = method in PERCENTILE_METHODS
    found = []
    for name in [
        one for one in comparison.grouping.by if one in SCALES and not (one == "clip.value" and is_percentile)
    ]:
        value = parse_number(best.get(name))
        values = [parse_number(one.get(name)) for one in settings if one.get("clip.name") == method]
        tried = {one for one in values if 0 < one < inf}
        if len(tried) >= FEWEST_VALUES and value in {min(tried), max(tried)}:
            found.append(Edge(name, value, value == max(tried)))
    if comparison.best.clip_fraction < NEARLY_NONE:  # larger thresholds would change nothing
        return [edge for edge in found if edge.setting == "optimizer.lr" or not edge.is_largest]
    return found


def edge_lines(comparison: Comparison) -> list[str]:
    """Return a sentence and a command for each edge."""
    found, runs = edges(comparison), comparison.best.group.runs
    kept = _overrides_to_keep(runs[-1], comparison.typed)
    if kept is None:
        return [f"{edge}." for edge in found]
    overrides = [*_launcher(runs[-1], comparison.typed), *kept]
    return [line for edge in found for line in (f"{edge}:", f"{CODE}{_command(runs, overrides, edge)}")]


def _launcher(run: StoredRun, typed: Sequence[str]) -> list[str]:
    """Return the launcher that the user typed; without one, the vectorized launcher, which stacks no code of users."""
    is_own = any(map(OWN_CODE.fullmatch, run.parameters))
    return launcher_of(typed) or ([] if is_own else ["hydra/launcher=vectorized"])


def _overrides_to_keep(run: StoredRun, typed: Sequence[str]) -> list[str] | None:
    """Return the overrides of the command that trained a run, with the store that the user typed.

    None if the user might not want to run one of them: they come from a tag, which anyone may have written.
    """
    stored = [one for one in typed_overrides(run) if setting_of(one) != "seed" and not is_of_hydra(one)]
    kept = [one for one in stored if not is_of_tracking(one)]
    parts = [override.partition("=") for override in typed]
    known = {*typed, *(f"{name}={value}" for name, _, values in parts for value in values.split(","))}
    if not all(one in known or is_plain(one) or _names_table_of(run, one) for one in kept):
        return None
    return [*kept, *filter(is_of_tracking, typed)]


def _names_table_of(run: StoredRun, override: str) -> bool:
    """Return whether an override names a table with the content that a run was trained on."""
    if setting_of(override) != "data.path":
        return False
    try:
        return file_digest(override.partition("=")[2].strip("'\"")) == run.tags.get(keys.DATA_DIGEST)
    except ConfigError:
        return False


def _command(runs: Sequence[StoredRun], kept: Sequence[str], edge: Edge) -> str:
    """Return the command that trains the best group with the next values, over the same seeds."""
    values = ",".join(f"{value:g}" for value in edge.next_values)
    typed_seeds = [run.parameters.get("seed", "") for run in runs]
    seeds = sorted(int(seed) for seed in typed_seeds if seed.isdecimal() and len(seed) <= SEED_DIGITS)
    first_seeds, changes = range(len(seeds)), [f"{edge.setting}={values}"]
    if seeds != [*first_seeds]:
        first_seeds = range(0)
        changes.append(f"seed={','.join(map(str, seeds))}")
    return train_command(merge(kept, changes), multirun=True, seeds=first_seeds)
