"""Groups of runs that differ only in their seed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gradclip.compare.labels import group_labels
from gradclip.config.identity import AS_BEFORE
from gradclip.config.schema import has_effect, ignores_threshold
from gradclip.errors import ConfigError, did_you_mean
from gradclip.tracking.stored_runs import StoredRun


@dataclass(frozen=True)
class Group:
    """Runs with the same settings, one for each seed.

    Attributes:
        label: experiment or clipping of the group, and the settings that distinguish it from the other groups.
        settings: values of the settings by which runs were grouped, by name; settings that it lacks are omitted.
        runs: oldest first.
    """

    label: str
    settings: dict[str, str]
    runs: list[StoredRun]


@dataclass(frozen=True)
class Grouping:
    """All groups of a comparison, and how they were formed.

    Attributes:
        by: names of the settings that distinguish the groups.
        groups: in the order of their first run.
        duplicates: number of runs ignored because a newer run has the same settings and seed.
        mixed: settings other than the seed that differ within a group.
    """

    by: list[str]
    groups: list[Group]
    duplicates: int
    mixed: list[str]


def group_runs(
    runs: Sequence[StoredRun], by: Sequence[str] | None = None, labels: Mapping[str, str] | None = None
) -> Grouping:
    """Group runs by settings.

    Args:
        runs: oldest first.
        by: names of the settings; None means all that differ, except the seed and those without effect on training.
        labels: label of each run's group, by run id; None means labels made from the distinguishing settings.

    Raises:
        ConfigError: a name in ``by`` is not a setting of any run.
    """
    runs = [_without_unused(run) for run in runs]
    known = {name for run in runs for name in run.parameters}
    for name in by or ():
        if name not in known:
            raise ConfigError(f"by: got {name!r}; no run has such a setting{did_you_mean(name, known)}")
    chosen = differing_settings(runs) if by is None else list(by)
    members: dict[tuple[str | None, ...], list[StoredRun]] = defaultdict(list)
    for run in runs:
        members[tuple(run.parameters.get(name) for name in chosen)].append(run)
    newest = [_newest_of_each_seed(group) for group in members.values()]
    mixed = [differing_settings(group) for group in newest]
    names = group_labels(newest, chosen, mixed) if labels is None else [labels[group[0].run_id] for group in newest]
    settings = [{name: group[0].parameters[name] for name in chosen if name in group[0].parameters} for group in newest]
    groups = [Group(*parts) for parts in zip(names, settings, newest, strict=True)]
    duplicates = len(runs) - sum(map(len, newest))
    return Grouping(chosen, groups, duplicates, mixed=sorted({name for inner in mixed for name in inner}))


def _without_unused(run: StoredRun) -> StoredRun:
    """Drop settings without effect.

    These are the threshold of a run that does not clip, and settings whose value is what runs did before the setting
    existed.
    """
    unused = {name for name, value in run.parameters.items() if (name, value) in AS_BEFORE}
    unused |= {"clip.value"} if ignores_threshold(run.parameters.get("clip.name", "")) else set()
    return replace(run, parameters={name: value for name, value in run.parameters.items() if name not in unused})


def differing_settings(runs: Sequence[StoredRun]) -> list[str]:
    """Return the settings that differ between runs, except the seed and those without effect on training."""
    names = sorted({name for run in runs for name in run.parameters if name != "seed" and has_effect(name)})
    return [name for name in names if len({run.parameters.get(name) for run in runs}) > 1]


def _newest_of_each_seed(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Drop runs that a newer run repeats with the same seed, since they are not independent evidence."""
    differing = differing_settings(runs)
    newest = {(*(run.parameters.get(name) for name in differing), run.parameters.get("seed")): run for run in runs}
    return list(newest.values())
