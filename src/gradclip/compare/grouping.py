"""Groups of runs that differ only in their seed."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gradclip import keys
from gradclip.config.schema import has_effect
from gradclip.errors import ConfigError, did_you_mean
from gradclip.tracking.stored_runs import StoredRun

CLIP = "clip."


@dataclass(frozen=True)
class Group:
    """Runs with the same settings, one for each seed.

    Attributes:
        label: the settings that distinguish the group from the others, as short as in a run's name.
        settings: these settings by name; a setting that the group's option does not have is left out.
        runs: oldest first.
    """

    label: str
    settings: dict[str, str]
    runs: list[StoredRun]


@dataclass(frozen=True)
class Grouping:
    """All groups, and what the reader of a comparison must know about them.

    Attributes:
        by: names of the settings that distinguish the groups.
        groups: in the order of their first run.
        duplicates: number of runs left out because a newer run has the same settings and seed.
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
        labels: the label of each run's group, by run id; None means the settings that distinguish the groups.

    Raises:
        ConfigError: no run has a setting of a name in ``by``.
    """
    runs = [_without_unused_threshold(run) for run in _tables_by_content(runs)]
    known = {name for run in runs for name in run.parameters}
    for name in by or ():
        if name not in known:
            raise ConfigError(f"by: got {name!r}; no run has such a setting{did_you_mean(name, known)}")
    chosen = differing_settings(runs) if by is None else list(by)
    members: dict[tuple[str | None, ...], list[StoredRun]] = defaultdict(list)
    for run in runs:
        members[tuple(run.parameters.get(name) for name in chosen)].append(run)
    newest = [_newest_of_each_seed(group) for group in members.values()]
    names = _labels(newest, chosen) if labels is None else [labels[group[0].run_id] for group in newest]
    groups = [Group(name, _settings(group[0], chosen), group) for name, group in zip(names, newest, strict=True)]
    mixed = sorted({name for group in newest for name in differing_settings(group)})
    return Grouping(chosen, groups, duplicates=len(runs) - sum(map(len, newest)), mixed=mixed)


def _tables_by_content(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Name the table of each run by its content: one file under two paths is one table, a changed file another."""
    digests = {run.run_id: run.tags.get(keys.DATA_DIGEST) for run in runs if "data.path" in run.parameters}
    names = {digest: Path(run.parameters["data.path"]).name for run in runs if (digest := digests.get(run.run_id))}
    shared = [name for name, count in Counter(names.values()).items() if count > 1]
    names |= {digest: f"{name} ({digest[:8]})" for digest, name in names.items() if name in shared}
    return [
        replace(run, parameters=run.parameters | {"data.path": names[digest]})
        if (digest := digests.get(run.run_id))
        else run
        for run in runs
    ]


def _without_unused_threshold(run: StoredRun) -> StoredRun:
    """Drop the threshold of a run that does not clip: it has no effect."""
    if run.parameters.get("clip.name") != "none":
        return run
    return replace(run, parameters={name: value for name, value in run.parameters.items() if name != "clip.value"})


def differing_settings(runs: Iterable[StoredRun]) -> list[str]:
    """Return the settings that differ between runs, except the seed and those without effect on training."""
    values: dict[str, set[str | None]] = defaultdict(set)
    runs = list(runs)
    for name in sorted({name for run in runs for name in run.parameters}):
        if name != "seed" and has_effect(name):
            values[name] = {run.parameters.get(name) for run in runs}
    return [name for name, found in values.items() if len(found) > 1]


def _newest_of_each_seed(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Drop runs that a newer one repeats with the same seed: they are no independent evidence."""
    differing = differing_settings(runs)
    newest = {(*(run.parameters.get(name) for name in differing), run.parameters.get("seed")): run for run in runs}
    return list(newest.values())


def _settings(run: StoredRun, by: Sequence[str]) -> dict[str, str]:
    return {name: run.parameters[name] for name in by if name in run.parameters}


def _labels(groups: Sequence[Sequence[StoredRun]], by: Sequence[str]) -> list[str]:
    """Return the shortest labels that are unique: the clipping as in a run's name, and as few settings as needed."""
    shared = [name for name in by if all(name in group[0].parameters for group in groups)]
    without_clip = [name for name in shared if not name.startswith(CLIP)]
    with_clip = any(name.startswith(CLIP) for name in by)
    for names in (without_clip, shared, list(by)):
        labels = [_label(group[0], names, with_clip) for group in groups]
        if len(set(labels)) == len(labels):
            break
    return labels


def _label(run: StoredRun, names: Sequence[str], with_clip: bool) -> str:
    clip = [run.tags.get(keys.CLIP, run.parameters.get("clip.name", ""))] if with_clip else []
    pairs = [short_setting(name, value) for name, value in _settings(run, names).items()]
    return " ".join([*clip, *pairs]) or run.tags.get(keys.CLIP, "all runs")


def short_setting(name: str, value: str) -> str:
    """Return a setting as short as in a run's name.

    Example:
        >>> short_setting("optimizer.lr", "0.1"), short_setting("model._target_", "gradclip.models.recurrent.GRU")
        ('lr=0.1', 'model=GRU')
    """
    group, _, last = name.rpartition(".")
    if last in {"name", "_target_"}:
        return f"{group}={value.rpartition('.')[2]}"
    return f"{last}={value}"
