"""Groups of runs that differ only in their seed."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch

from gradclip import keys
from gradclip.errors import ConfigError, did_you_mean
from gradclip.tracking.stored_runs import StoredRun

INCIDENTAL = ("seed", "tracking.*", "figures", "log_model", "trainer.progress_bar", "trainer.threads")
CLIP = "clip."


@dataclass(frozen=True)
class Group:
    """Runs with the same settings, one for each seed.

    Attributes:
        label: the settings that tell it from the other groups, as short as in a run's name.
        values: these settings by name; a setting that the group's option does not have is left out.
        runs: oldest first.
    """

    label: str
    values: dict[str, str]
    runs: list[StoredRun]


@dataclass(frozen=True)
class Grouping:
    """All groups, and what has to be said about them.

    Attributes:
        by: the settings that tell the groups apart.
        groups: in the order of their first run.
        repeated: how many runs were left out because a newer one has the same settings and seed.
        mixed: settings that differ within a group, though the seed is all that should.
    """

    by: list[str]
    groups: list[Group]
    repeated: int
    mixed: list[str]


def group_runs(
    runs: Sequence[StoredRun], by: Sequence[str] | None = None, names: Mapping[str, str] | None = None
) -> Grouping:
    """Group runs by settings.

    Args:
        runs: the runs.
        by: names of the settings; None means all that differ, except the seed and what changes nothing in training.
        names: of the groups, each by the ids of its runs; None means the settings that tell them apart.

    Raises:
        ConfigError: no run has a setting of a name given in ``by``.
    """
    runs = [_without_idle_threshold(run) for run in runs]
    known = {name for run in runs for name in run.parameters}
    for name in by or ():
        if name not in known:
            raise ConfigError(f"by: got {name!r}; no run has such a setting{did_you_mean(name, known)}")
    chosen = differing_settings(runs) if by is None else list(by)
    members: dict[tuple[str | None, ...], list[StoredRun]] = defaultdict(list)
    for run in runs:
        members[tuple(run.parameters.get(name) for name in chosen)].append(run)
    newest = [_newest_of_each_seed(group) for group in members.values()]
    mixed = sorted({name for group in newest for name in differing_settings(group)})
    labels = _labels(newest, chosen) if names is None else [names[group[0].run_id] for group in newest]
    groups = [Group(label, _values(group[0], chosen), group) for label, group in zip(labels, newest, strict=True)]
    return Grouping(chosen, groups, len(runs) - sum(map(len, newest)), mixed)


def _without_idle_threshold(run: StoredRun) -> StoredRun:
    """Where nothing is clipped the threshold is a setting without effect."""
    if run.parameters.get("clip.name") != "none":
        return run
    return replace(run, parameters={name: value for name, value in run.parameters.items() if name != "clip.value"})


def differing_settings(runs: Iterable[StoredRun]) -> list[str]:
    """The settings that are not the same in all runs, except the seed and what changes nothing in training."""
    values: dict[str, set[str | None]] = defaultdict(set)
    runs = list(runs)
    for name in sorted({name for run in runs for name in run.parameters}):
        if not any(fnmatch(name, pattern) for pattern in INCIDENTAL):
            values[name] = {run.parameters.get(name) for run in runs}
    return [name for name, found in values.items() if len(found) > 1]


def _newest_of_each_seed(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """A run that repeats another, seed and all, is no further evidence."""
    differing = differing_settings(runs)
    newest = {(*(run.parameters.get(name) for name in differing), run.parameters.get("seed")): run for run in runs}
    return list(newest.values())


def _values(run: StoredRun, by: Sequence[str]) -> dict[str, str]:
    return {name: run.parameters[name] for name in by if name in run.parameters}


def _labels(groups: Sequence[Sequence[StoredRun]], by: Sequence[str]) -> list[str]:
    """As short as can be: the clipping as runs are named by it, and the settings that all groups have."""
    shared = [name for name in by if all(name in group[0].parameters for group in groups)]
    plain = [name for name in shared if not name.startswith(CLIP)]
    for names in (plain, shared, list(by)):
        labels = [_label(group[0], names, any(name.startswith(CLIP) for name in by)) for group in groups]
        if len(set(labels)) == len(labels):
            break
    return labels


def _label(run: StoredRun, names: Sequence[str], tell_clip: bool) -> str:
    clip = [run.tags.get(keys.CLIP, run.parameters.get("clip.name", ""))] if tell_clip else []
    pairs = [short_setting(name, run.parameters[name]) for name in names if name in run.parameters]
    return " ".join([*clip, *pairs]) or run.tags.get(keys.CLIP, "all runs")


def short_setting(name: str, value: str) -> str:
    """A setting as short as in a run's name.

    Example:
        >>> short_setting("optimizer.lr", "0.1"), short_setting("model._target_", "gradclip.models.recurrent.GRU")
        ('lr=0.1', 'model=GRU')
    """
    group, _, last = name.rpartition(".")
    if last in {"name", "_target_"}:
        return f"{group}={value.rpartition('.')[2]}"
    return f"{last}={value}"
