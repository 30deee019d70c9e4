"""Labels of groups of runs, in the words of run names and of the table of jobs."""

import shlex
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


def overrides_of(run: StoredRun) -> list[str]:
    """Return the overrides of the command that trained a run, read from the run's tag."""
    try:
        words = shlex.split(run.tags.get(keys.COMMAND, ""))
    except ValueError:  # tags may contain any text
        return []
    return [word for word in words if "=" in word]


def experiment_of(run: StoredRun) -> str:
    """Return the name of the prepared experiment that a run used; empty if it used none."""
    return next((one.partition("=")[2] for one in overrides_of(run) if setting_of(one) == "experiment"), "")


@dataclass(frozen=True)
class Description:
    """The words available for the label of a group.

    Attributes:
        base: experiment of the group, or else its clipping; empty if the group mixes clipping methods.
        is_experiment: whether ``base`` is an experiment, whose name implies its settings.
        words: the label of the clipping, and a word for each setting by which runs were grouped, by name.
        note: describes the values that the group mixes; empty if it mixes none.
    """

    base: str
    is_experiment: bool
    words: dict[str, str]
    note: str


def group_labels(groups: Sequence[Sequence[StoredRun]], by: Sequence[str], mixed: Sequence[Sequence[str]]) -> list[str]:
    """Return a label for each group: its experiment or its clipping, and the settings that distinguish it from others.

    Args:
        groups: the runs of each group.
        by: names of the settings by which runs were grouped.
        mixed: names of the settings that differ within each group.
    """
    found = [_describe(group, by, inner) for group, inner in zip(groups, mixed, strict=True)]
    needed = distinguishing_words([one.base for one in found], [one.words for one in found])
    is_base_shared = len({one.base for one in found}) == 1  # then it distinguishes none
    labels = []
    for one, words in zip(found, needed, strict=True):
        first = [] if is_base_shared or not one.base else [one.base]
        more = [] if one.is_experiment else _unusual(one, found) if one.base else [*one.words.values()]
        labels.append(_fitting([*first, *words] or more[:1] or [one.base], more, one.note))
    return numbered(labels)


def _describe(group: Sequence[StoredRun], by: Sequence[str], mixed: Sequence[str]) -> Description:
    """Collect the words for the label of a group.

    Args:
        group: runs of the group.
        by: names of the settings by which runs were grouped.
        mixed: names of the settings that differ within the group.
    """
    run, experiments = group[0], {experiment_of(run) for run in group}
    experiment = experiments.pop() if len(experiments) == 1 else ""
    method = "" if "clip.name" in mixed else run.parameters.get("clip.name", "")
    clip = method if {*mixed} & CLIP_LABEL else run.tags.get(keys.CLIP, method)
    settings = {name: short_setting(name, run.parameters[name]) for name in by if name in run.parameters}
    words = {name: word for name, word in ({"clip": clip} | settings).items() if word}
    ordered = {name: words[name] for name in sorted(words, key=_rank)}
    return Description(experiment or clip, bool(experiment), ordered, _mixture(group, mixed))


def _rank(name: str) -> tuple[bool, bool, bool]:
    """Return the sort key of a setting: the clipping, then the option of a group, which implies its other settings."""
    return name in CLIP_LABEL, name != "clip", not name.endswith((".name", "._target_"))


def distinguishing_words(bases: Sequence[str], words: Sequence[Mapping[str, str]]) -> list[list[str]]:
    """Return, for each of several labels, the words in which it differs from the others with the same base.

    Args:
        bases: beginning of each label.
        words: word of each setting, by its name, for each label.

    Example:
        >>> adam, sgd = {"optimizer.lr": "lr=0.001", "optimizer.name": "optimizer=adam"}, {"optimizer.lr": "lr=0.01"}
        >>> distinguishing_words(["norm", "norm", "value"], [adam, sgd | {"optimizer.name": "optimizer=sgd"}, sgd])
        [['optimizer=adam'], ['optimizer=sgd'], []]
    """
    chosen = [[base] for base in bases]
    for name in sorted(dict.fromkeys(name for one in words for name in one), key=_rank):
        namesakes = defaultdict(list)
        for number, one in enumerate(chosen):
            namesakes[tuple(one)].append(number)
        for members in namesakes.values():
            if len({words[number].get(name) for number in members}) > 1:
                for number in members:
                    chosen[number] += [words[number][name]] if name in words[number] else []
    return [one[1:] for one in chosen]


def _unusual(group: Description, groups: Sequence[Description]) -> list[str]:
    """Return the words of settings, other than clipping, whose value is not the most common one among all groups."""
    names = [name for name in group.words if name not in CLIP_LABEL | {"clip"}]
    values = {name: Counter(one.words[name] for one in groups if name in one.words) for name in names}
    return [group.words[name] for name in names if group.words[name] != values[name].most_common(1)[0][0]]


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
    first = needed[0] or "all runs"
    label = first if len(first) <= MAX_LABEL_LENGTH else "group"
    further = [(word, SHORT_LABEL_LENGTH) for word in more if word not in needed]
    for word, longest in [*((word, MAX_LABEL_LENGTH) for word in needed[1:]), *further]:
        if len(f"{label} {word}") <= longest:
            label = f"{label} {word}"
    return f"{label}, {note}" if note else label


def numbered(labels: Sequence[str]) -> list[str]:
    """Append numbers to labels that occur more than once."""
    counts, seen, found = Counter(labels), Counter[str](), []
    for label in labels:
        seen[label] += 1
        found.append(f"{label} ({seen[label]})" if counts[label] > 1 else label)
    return found
