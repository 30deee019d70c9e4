"""The words by which groups of runs are called: those of a run's name and of the table of jobs."""

import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence

from gradclip import keys
from gradclip.config.overrides import setting_of
from gradclip.tracking.stored_runs import StoredRun

CLIP_LABEL = {"clip.name", "clip.value", "clip.norm"}  # settings that the label of the clipping says
MAX_LABEL_LENGTH = 30


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


def overrides_of(run: StoredRun) -> list[str]:
    """Return the overrides of the command that trained a run, as the run's tag has them."""
    try:
        words = shlex.split(run.tags.get(keys.COMMAND, ""))
    except ValueError:  # a tag can hold anything
        return []
    return [word for word in words if "=" in word]


def experiment_of(run: StoredRun) -> str:
    """Return the name of the prepared experiment that a run was; empty for any other."""
    return next((one.partition("=")[2] for one in overrides_of(run) if setting_of(one) == "experiment"), "")


def group_labels(groups: Sequence[Sequence[StoredRun]], by: Sequence[str], mixed: Sequence[Sequence[str]]) -> list[str]:
    """Return a label for each group: its experiment or its clipping, and as few of its settings as tell it from others.

    Args:
        groups: the runs of each.
        by: names of the settings by which they were grouped.
        mixed: names of the settings that differ within each group.
    """
    words = [_words(group, by, inner) for group, inner in zip(groups, mixed, strict=True)]
    labels: list[list[str]] = [[] for _ in groups]
    for name in dict.fromkeys(name for one in words for name in one):
        namesakes = defaultdict(list)
        for index, label in enumerate(labels):
            namesakes[tuple(label)].append(index)
        for members in namesakes.values():
            if len({words[index].get(name) for index in members}) > 1:
                for index in members:
                    labels[index] += [words[index][name]] if name in words[index] else []
    whole = [label or list(one.values())[:1] for label, one in zip(labels, words, strict=True)]
    notes = [_mixture(group, inner) for group, inner in zip(groups, mixed, strict=True)]
    return _numbered([_fitting(label, note) for label, note in zip(whole, notes, strict=True)])


def _words(group: Sequence[StoredRun], by: Sequence[str], mixed: Sequence[str]) -> dict[str, str]:
    """Return what can be said of a group, the most telling first: each word by the setting that it comes from."""
    first, experiments = group[0], {experiment_of(run) for run in group}
    experiment = experiments.pop() if len(experiments) == 1 else ""
    clip = first.parameters.get("clip.name", "") if {*mixed} & CLIP_LABEL else first.tags.get(keys.CLIP, "")
    settings = {name: short_setting(name, first.parameters[name]) for name in by if name in first.parameters}
    others = {name: word for name, word in settings.items() if name not in CLIP_LABEL}
    if "clip.name" in mixed:
        return {"base": experiment} | others if experiment else others or {"base": "all runs"}
    clip_settings = {name: word for name, word in settings.items() if name in CLIP_LABEL}
    return {"base": experiment or clip or "all runs", "clip": clip} | others | clip_settings


def _mixture(group: Sequence[StoredRun], mixed: Sequence[str]) -> str:
    """Say which values a group mixes; empty where it mixes none."""
    counts = {name: len({run.parameters.get(name) for run in group}) for name in mixed}
    if not counts:
        return ""
    if len(counts) > 1:
        return f"{len(counts)} settings mixed"
    ((name, count),) = counts.items()
    return f"{count} thresholds" if name in CLIP_LABEL else f"{count} values of {name.rpartition('.')[2]}"


def _fitting(words: Sequence[str], note: str) -> str:
    """Join as many whole words as fit; the first one always stands, unless it is far too long."""
    label = words[0] if words and len(words[0]) <= 1.5 * MAX_LABEL_LENGTH else "group"
    for word in words[1:]:
        if len(f"{label} {word}") > MAX_LABEL_LENGTH:
            break
        label = f"{label} {word}"
    return f"{label}, {note}" if note else label


def _numbered(labels: Sequence[str]) -> list[str]:
    """Number those that are called alike."""
    seen: Mapping[str, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        seen[label].append(index)
    return [
        f"{label} ({seen[label].index(index) + 1})" if len(seen[label]) > 1 else label
        for index, label in enumerate(labels)
    ]
