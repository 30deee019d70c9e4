"""Labels of groups of runs, in the words of run names and of the table of jobs."""

import shlex
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from gradclip import keys
from gradclip.config.overrides import setting_of
from gradclip.tracking.stored_runs import StoredRun

CLIP_LABEL = {"clip.name", "clip.value", "clip.norm"}  # settings that the label of the clipping contains
MAX_LABEL_LENGTH = 60
SHORT_LABEL_LENGTH = 30  # up to this length, a label also has settings that are unusual but distinguish no groups


def short_setting(name: str, value: str) -> str:
    """Return a setting in the short form that run names use.

    Example:
        >>> short_setting("optimizer.lr", "0.1"), short_setting("model._target_", "gradclip.models.recurrent.GRU")
        ('lr=0.1', 'model=GRU')
    """
    group, _, last = name.rpartition(".")
    if last in {"name", "_target_"}:
        return f"{group}={value.rpartition('.')[2]}"
    return f"{last}={value}"


def typed_overrides(run: StoredRun) -> list[str]:
    """Return the overrides of the command that trained a run, read from the run's tag."""
    try:
        words = shlex.split(run.tags.get(keys.COMMAND, ""))
    except ValueError:  # tags may contain any text
        return []
    return [word for word in words if "=" in word]


def experiment_of(run: StoredRun) -> str:
    """Return the name of the prepared experiment that a run used; empty if it used none."""
    return next((one.partition("=")[2] for one in typed_overrides(run) if setting_of(one) == "experiment"), "")


def group_labels(groups: Sequence[Sequence[StoredRun]], by: Sequence[str], mixed: Sequence[Sequence[str]]) -> list[str]:
    """Return a label for each group: its experiment or its clipping, and the settings that distinguish it from others.

    Args:
        groups: the runs of each group.
        by: names of the settings by which runs were grouped.
        mixed: names of the settings that differ within each group.
    """
    words = [_words(group, by, inner) for group, inner in zip(groups, mixed, strict=True)]
    needed = distinguishing_names(words)
    is_first_shared = len({own[first] for own, (first, *_) in zip(words, needed, strict=True)}) == 1
    labels = []
    for own, names, group, inner in zip(words, needed, groups, mixed, strict=True):
        more = [] if "experiment" in own else [name for name in _unusual(own, words) if name not in names]
        shown = names[1:] if is_first_shared and len(names) + len(more) > 1 else names
        labels.append(_fitting([own[one] for one in shown], [own[one] for one in more], _mixture(group, inner)))
    return numbered(labels)


def _words(group: Sequence[StoredRun], by: Sequence[str], mixed: Sequence[str]) -> dict[str, str]:
    """Return the words for the label of a group by setting: its experiment, if any, its clipping, and its settings."""
    run, experiments = group[0], {experiment_of(run) for run in group}
    experiment = experiments.pop() if len(experiments) == 1 else ""
    method = "" if "clip.name" in mixed else run.parameters.get("clip.name", "")
    clip = method if {*mixed} & CLIP_LABEL else run.tags.get(keys.CLIP, method)
    names = sorted((name for name in by if name in run.parameters), key=_rank)
    settings = {name: short_setting(name, run.parameters[name]) for name in names}
    return ({"experiment": experiment} if experiment else {}) | {"clip": clip} | settings


def _rank(name: str) -> int:
    """Return the sort key of a setting in a label; an option comes before the settings that it implies."""
    if name in {"experiment", "clip"}:
        return 0
    return 3 if name in CLIP_LABEL else 1 if name.endswith((".name", "._target_")) else 2


def distinguishing_names(labels: Sequence[Mapping[str, str]]) -> list[list[str]]:
    """Return the names of the words of each label: the first, and those in which labels with equal words differ.

    Args:
        labels: words of each label, by setting.

    Example:
        >>> adam = {"clip": "norm", "optimizer.lr": "lr=0.001", "optimizer.name": "optimizer=adam"}
        >>> sgd = {"clip": "norm", "optimizer.lr": "lr=0.01", "optimizer.name": "optimizer=sgd"}
        >>> distinguishing_names([adam, sgd, sgd | {"clip": "value"}])
        [['clip', 'optimizer.name'], ['clip', 'optimizer.name'], ['clip']]
    """
    chosen = [[next(iter(words))] for words in labels]
    for name in sorted(dict.fromkeys(name for words in labels for name in words), key=_rank):
        namesakes = defaultdict(list)
        for words, names in zip(labels, chosen, strict=True):
            namesakes[tuple(words[one] for one in names)].append((words, names))
        for members in namesakes.values():
            if len({words.get(name) for words, _ in members}) > 1:
                for words, names in members:
                    if name in words and name not in names:
                        names.append(name)
    return chosen


def _unusual(own: Mapping[str, str], groups: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the settings, other than clipping, whose value in a group is not the most common one among all groups.

    A group that mixes clipping methods has no other name, so all its settings are returned.
    """
    if not own["clip"]:
        return [*own]
    names = [name for name in own if name not in CLIP_LABEL | {"clip"}]
    values = {name: Counter(words[name] for words in groups if name in words) for name in names}
    return [name for name in names if own[name] != values[name].most_common(1)[0][0]]


def _mixture(group: Sequence[StoredRun], mixed: Sequence[str]) -> str:
    """Describe the values that a group mixes; empty if it mixes none."""
    counts = {name: len({run.parameters.get(name) for run in group}) for name in mixed}
    if not counts:
        return ""
    if len(counts) > 1:
        return f"{len(counts)} settings mixed"
    ((name, count),) = counts.items()
    return f"{count} thresholds" if name in CLIP_LABEL else f"{count} values of {name.rpartition('.')[2]}"


def _fitting(needed: Sequence[str], more: Sequence[str], note: str) -> str:
    """Join as many whole words as fit; ``group`` replaces a first word that is far too long.

    Args:
        needed: words that distinguish the group.
        more: further words, for a short label only.
        note: describes the values that the group mixes.
    """
    limits = [*((word, MAX_LABEL_LENGTH) for word in needed), *((word, SHORT_LABEL_LENGTH) for word in more)]
    (first, _), *others = [(word, limit) for word, limit in limits if word] or [("all runs", MAX_LABEL_LENGTH)]
    label = first if len(first) <= MAX_LABEL_LENGTH else "group"
    for word, limit in others:
        if len(f"{label} {word}") <= limit:
            label = f"{label} {word}"
    return f"{label}, {note}" if note else label


def numbered(labels: Sequence[str]) -> list[str]:
    """Append numbers to labels that occur more than once."""
    counts, seen, found = Counter(labels), Counter[str](), []
    for label in labels:
        seen[label] += 1
        found.append(f"{label} ({seen[label]})" if counts[label] > 1 else label)
    return found
