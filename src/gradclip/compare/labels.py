"""Labels of groups of runs, in the words of run names and of the table of jobs."""

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gradclip import keys
from gradclip.config.overrides import setting_of
from gradclip.tracking.stored_runs import StoredRun

CLIP_LABEL = {"clip.name", "clip.value", "clip.norm"}  # settings that the label of the clipping contains
MAX_LABEL_LENGTH = 30


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


@dataclass
class Description:
    """The words available for the label of a group, and those chosen so far.

    Attributes:
        base: experiment of the group, or else its clipping; empty if the group mixes clipping methods.
        is_experiment: whether ``base`` is an experiment, whose name implies its settings.
        words: the label of the clipping, and a word for each setting by which runs were grouped, by name.
        note: describes the values that the group mixes; empty if it mixes none.
        chosen: names of the settings whose words are in the label.
    """

    base: str
    is_experiment: bool
    words: dict[str, str]
    note: str
    chosen: list[str] = field(default_factory=list)

    @property
    def chosen_words(self) -> tuple[str, ...]:
        """The words chosen so far, the base first."""
        return (self.base, *(self.words[name] for name in self.chosen))

    def choose(self, names: Iterable[str]) -> None:
        """Choose the words of some settings; names that the group lacks or has already chosen are ignored."""
        self.chosen += [name for name in names if name in self.words and name not in self.chosen]


def group_labels(groups: Sequence[Sequence[StoredRun]], by: Sequence[str], mixed: Sequence[Sequence[str]]) -> list[str]:
    """Return a label for each group: its experiment or its clipping, and the settings that distinguish it from others.

    Args:
        groups: the runs of each group.
        by: names of the settings by which runs were grouped.
        mixed: names of the settings that differ within each group.
    """
    found = [_describe(group, by, inner) for group, inner in zip(groups, mixed, strict=True)]
    _distinguish(found)
    for one in found:
        if not one.is_experiment:
            one.choose(_unusual(one, found) if one.base else one.words)
    is_base_shared = len({one.base for one in found}) == 1  # then it distinguishes none
    labels = []
    for one in found:
        words = [word for word in (one.chosen_words[1:] if is_base_shared else one.chosen_words) if word]
        labels.append(_fitting(words or [one.base], one.note))
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
    words = {"clip": clip} | {name: settings[name] for name in sorted(settings, key=CLIP_LABEL.__contains__)}
    return Description(experiment or clip, bool(experiment), words, _mixture(group, mixed))


def _distinguish(groups: Sequence[Description]) -> None:
    """Choose, for groups with the same words so far, the settings in which they differ."""
    for name in dict.fromkeys(name for one in groups for name in one.words):
        namesakes = defaultdict(list)
        for one in groups:
            namesakes[one.chosen_words].append(one)
        for members in namesakes.values():
            if len({one.words.get(name) for one in members}) > 1:
                for one in members:
                    one.choose([name])


def _unusual(group: Description, groups: Sequence[Description]) -> list[str]:
    """Return the settings, other than clipping, whose value in a group is not the most common one among all groups."""
    names = [name for name in group.words if name not in CLIP_LABEL | {"clip"}]
    values = {name: Counter(one.words[name] for one in groups if name in one.words) for name in names}
    return [name for name in names if group.words[name] != values[name].most_common(1)[0][0]]


def _mixture(group: Sequence[StoredRun], mixed: Sequence[str]) -> str:
    """Describe the values that a group mixes; empty if it mixes none."""
    counts = {name: len({run.parameters.get(name) for run in group}) for name in mixed}
    if not counts:
        return ""
    if len(counts) > 1:
        return f"{len(counts)} settings mixed"
    ((name, count),) = counts.items()
    return f"{count} thresholds" if name in CLIP_LABEL else f"{count} values of {name.rpartition('.')[2]}"


def _fitting(words: Sequence[str], note: str) -> str:
    """Join as many whole words as fit; ``group`` replaces a first word that is far too long."""
    first = words[0] or "all runs"
    label = first if len(first) <= 1.5 * MAX_LABEL_LENGTH else "group"
    for word in words[1:]:
        if len(f"{label} {word}") > MAX_LABEL_LENGTH:
            break
        label = f"{label} {word}"
    return f"{label}, {note}" if note else label


def numbered(labels: Sequence[str]) -> list[str]:
    """Append numbers to labels that occur more than once."""
    counts, seen, found = Counter(labels), Counter[str](), []
    for label in labels:
        seen[label] += 1
        found.append(f"{label} ({seen[label]})" if counts[label] > 1 else label)
    return found
