"""The words by which groups of runs are called: those of a run's name and of the table of jobs."""

import shlex
from collections import Counter, defaultdict
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
    """Return a label for each group: its experiment or its clipping, and the settings that tell it from others.

    Args:
        groups: the runs of each.
        by: names of the settings by which they were grouped.
        mixed: names of the settings that differ within each group.
    """
    experiments = [_experiment(group) for group in groups]
    clips = [_clip(group[0], inner) for group, inner in zip(groups, mixed, strict=True)]
    words = [_words(group[0], by, clip) for group, clip in zip(groups, clips, strict=True)]
    bases = [experiment or clip for experiment, clip in zip(experiments, clips, strict=True)]
    said: list[list[str]] = [[] for _ in groups]  # names of the settings in each label
    for name in dict.fromkeys(name for one in words for name in one):
        for members in _alike(bases, words, said):
            if len({words[index].get(name) for index in members}) > 1:
                for index in members:
                    said[index] += [name] if name in words[index] else []
    for index, one in enumerate(words):
        if not experiments[index]:
            more = _unusual(one, words) if bases[index] else [*one]
            said[index] += [name for name in more if name not in said[index]]
    first = [[base] if len({*bases}) > 1 else [] for base in bases]
    labels = [start + [one[name] for name in names] for start, one, names in zip(first, words, said, strict=True)]
    notes = [_mixture(group, inner) for group, inner in zip(groups, mixed, strict=True)]
    return _numbered(
        [
            _fitting([*filter(None, label)] or [base], note)
            for label, base, note in zip(labels, bases, notes, strict=True)
        ]
    )


def _experiment(group: Sequence[StoredRun]) -> str:
    names = {experiment_of(run) for run in group}
    return names.pop() if len(names) == 1 else ""


def _clip(run: StoredRun, mixed: Sequence[str]) -> str:
    """Return the clipping of a group as in a run's name; only its method, or nothing, where the group mixes it."""
    if "clip.name" in mixed:
        return ""
    method = run.parameters.get("clip.name", "")
    return method if {*mixed} & CLIP_LABEL else run.tags.get(keys.CLIP, method)


def _words(run: StoredRun, by: Sequence[str], clip: str) -> dict[str, str]:
    """Return what can be said of a group by the setting that it comes from, the most telling first."""
    settings = {name: short_setting(name, run.parameters[name]) for name in by if name in run.parameters}
    return {"clip": clip} | {name: settings[name] for name in sorted(settings, key=CLIP_LABEL.__contains__)}


def _unusual(words: Mapping[str, str], others: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the settings, without its clipping, that a group has different from most of those that have them."""
    usual = {name: Counter(one[name] for one in others if name in one).most_common(1)[0][0] for name in words}
    return [name for name, word in words.items() if name not in CLIP_LABEL | {"clip"} and word != usual[name]]


def _alike(bases: Sequence[str], words: Sequence[Mapping[str, str]], said: Sequence[Sequence[str]]) -> list[list[int]]:
    """Return the numbers of the groups that are called alike so far.

    Args:
        bases: what each label begins with.
        words: what can be said of each group.
        said: names of the settings that are said of each.
    """
    alike = defaultdict(list)
    for index, (base, one, names) in enumerate(zip(bases, words, said, strict=True)):
        alike[base, *(one[name] for name in names)].append(index)
    return [members for members in alike.values() if len(members) > 1]


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
    first = words[0] or "all runs"
    label = first if len(first) <= 1.5 * MAX_LABEL_LENGTH else "group"
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
