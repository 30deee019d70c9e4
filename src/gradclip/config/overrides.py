"""Overrides as the user types them and as Hydra needs them, and the run names and command lines made of them."""

import re
from collections.abc import Collection, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from gradclip.program import command_line

if TYPE_CHECKING:
    from gradclip.config.schema import TrainConfig

HIDDEN = {"clip", "clip.value", "clip.norm", "seed", "sweep"}  # in no run's name, which has their values already
OWN_GROUPS = ("module", "data")  # groups whose option ``own`` is a user-defined class
NO_THRESHOLD = "clip=none has no threshold; choose a method, such as clip=norm"
QUOTES = "'\""
PLAIN = re.compile(r"[+~]?[\w.]+=[\w.,:*?()\[\] +-]*")
MAX_LISTED_SEEDS = 5  # more are written as a range


def setting_of(override: str) -> str:
    """Return the name of the setting or group that an override sets.

    Example:
        >>> setting_of("+experiment=explosion"), setting_of("clip.value=1.0")
        ('experiment', 'clip.value')
    """
    return override.lstrip("+~").partition("=")[0]


def is_of_hydra(override: str) -> bool:
    """Return whether an override sets one of Hydra's own settings, such as the launcher."""
    return setting_of(override).replace("/", ".").split(".")[0] == "hydra"


def launcher_of(overrides: Sequence[str]) -> list[str]:
    """Return the overrides that choose and set up the launcher.

    Example:
        >>> launcher_of(["hydra/launcher=joblib", "hydra.launcher.n_jobs=4", "hydra.sweep.dir=a", "seed=1"])
        ['hydra/launcher=joblib', 'hydra.launcher.n_jobs=4']
    """
    return [one for one in overrides if setting_of(one).replace("/", ".").startswith("hydra.launcher")]


def is_of_tracking(override: str) -> bool:
    """Return whether an override says which store runs are written to, and how."""
    return setting_of(override).partition(".")[0] == "tracking"


def is_plain(override: str) -> bool:
    """Return whether an override names no class and no file and reads no variable, so that anyone may have written it.

    Example:
        >>> [is_plain(one) for one in ("clip.value=1,10", "+experiment=explosion", "clip.parameters=${oc.env:HOME}")]
        [True, True, False]
        >>> [is_plain(one) for one in ("data.path=a.csv", "model._target_=os.system", "+experiment=../x")]
        [False, False, False]
    """
    names_a_file = setting_of(override) == "data.path" or ".." in override
    return PLAIN.fullmatch(override) is not None and "_target_" not in override and not names_a_file


def for_hydra(overrides: Sequence[str]) -> list[str]:
    """Return overrides as Hydra needs them: a user-defined class chooses the option ``own`` and takes any argument.

    Example:
        >>> for_hydra(["module._target_=my.Module", "module.width=3", "seed=1"])
        ['module=own', '++module._target_=my.Module', '++module.width=3', 'seed=1']
        >>> for_hydra(["data=table", "data.path=a.csv", "callbacks.stop._target_=my.Stop"])
        ['data=table', 'data.path=a.csv', '++callbacks.stop._target_=my.Stop']
    """
    free = _groups_with_any_argument(overrides)
    implied = [f"{group}=own" for group in OWN_GROUPS if group in free and f"{group}=own" not in overrides]
    return implied + [f"++{text}" if _is_argument(text, free) and text[0] not in "+~" else text for text in overrides]


def as_typed(overrides: Sequence[str]) -> list[str]:
    """Return overrides as a user types them, given those that :func:`for_hydra` returned.

    Example:
        >>> as_typed(["module=own", "++module._target_=my.Module", "++module.width=3", "+experiment=explosion"])
        ['module._target_=my.Module', 'module.width=3', '+experiment=explosion']
    """
    free = _groups_with_any_argument(overrides)
    names = {setting_of(override) for override in overrides}
    implied = {f"{group}=own" for group in OWN_GROUPS if f"{group}._target_" in names}
    typed = [override for override in overrides if override not in implied]
    return [override.lstrip("+") if _is_argument(override, free) else override for override in typed]


def _is_argument(override: str, free: Collection[str]) -> bool:
    """Return whether an override sets an argument in one of the groups that take any argument."""
    group, dot, _ = setting_of(override).partition(".")
    return bool(dot) and group in free


def _groups_with_any_argument(overrides: Sequence[str]) -> set[str]:
    """Return the groups whose settings are arguments of a user-defined class."""
    names = {setting_of(override) for override in overrides}
    own = {group for group in OWN_GROUPS if f"{group}=own" in overrides}
    chosen = {group for group in OWN_GROUPS if f"{group}._target_" in names and group not in names}
    return {"callbacks", *own, *chosen}


def train_command(overrides: Sequence[str], multirun: bool = False, seeds: range = range(0)) -> str:
    """Return the command line that trains with the given overrides.

    A job of a multirun may have a threshold without a method that uses it; a command for a single run leaves it out.

    Args:
        overrides: overrides as typed.
        multirun: whether to start a multirun.
        seeds: seeds of a multirun.

    Example:
        >>> train_command(["clip=norm", "clip.value=2"], seeds=range(2))
        'python src/train.py -m clip=norm clip.value=2 seed=0,1'
        >>> train_command(["clip=none", "clip.value=2"])
        'python src/train.py clip=none'
    """
    if multirun or seeds:
        return command_line("train", ["-m", *overrides, *seed_override(seeds)])
    from gradclip.config.schema import ignores_threshold  # slow, see _changes_training

    methods = [override.partition("=")[2] for override in overrides if setting_of(override) == "clip"]
    ignored = "clip.value" if methods and ignores_threshold(methods[-1]) else None
    return command_line("train", [override for override in overrides if setting_of(override) != ignored])


def seed_override(seeds: range) -> list[str]:
    """Return the override that sets the seeds of a multirun; an empty list without seeds.

    Example:
        >>> seed_override(range(1000, 1020))
        ['seed=range(1000,1020)']
    """
    if len(seeds) > MAX_LISTED_SEEDS:
        return [f"seed=range({seeds.start},{seeds.stop})"]
    return [f"seed={','.join(map(str, seeds))}"] if seeds else []


def run_name(config: "TrainConfig", overrides: Sequence[str]) -> str:
    """Return the name of a run: its clipping, then other overrides that change the training run, then its seed."""
    changing = [text for text in filter(_changes_training, overrides) if "=" in text and setting_of(text) not in HIDDEN]
    return " ".join([config.clip.label, *map(_short, changing), f"seed={config.seed}"])


def parent_run_name(overrides: Sequence[str]) -> str:
    """Return the name of a parent run: the overrides that change the training run."""
    return " ".join(filter(_changes_training, overrides)) or "multirun"


def failed_job_name(overrides: Sequence[str]) -> str:
    """Return the name of a job without results: the overrides that change the training run; all if none does.

    Example:
        >>> failed_job_name(["clip=norm", "figures=false"]), failed_job_name(["tracking.retry_seconds=-1"])
        ('clip=norm', 'tracking.retry_seconds=-1')
    """
    return " ".join(filter(_changes_training, overrides)) or " ".join(overrides)


def merge(base: Sequence[str], changes: Sequence[str]) -> list[str]:
    """Replace overrides by others; a newly chosen option of a group discards the group's old settings.

    Example:
        >>> merge(["data=diabetes", "clip=value", "clip.value=5"], ["clip=norm", "clip.value=2"])
        ['data=diabetes', 'clip=norm', 'clip.value=2']
        >>> merge(["clip=norm", "clip.value=5"], ["clip.value=2"])
        ['clip=norm', 'clip.value=2']
    """
    names = {setting_of(change) for change in changes}
    groups = {name for name in names if "." not in name}
    kept = [text for text in base if setting_of(text) not in names and setting_of(text).split(".")[0] not in groups]
    return [*kept, *changes]


def _changes_training(override: str) -> bool:
    from gradclip.config.schema import has_effect  # takes 0.1 s, which errors in arguments need not wait for

    return not is_of_hydra(override) and has_effect(setting_of(override))


def _short(override: str) -> str:
    name, _, value = override.lstrip("+").partition("=")
    if name.endswith("._target_"):
        return value.rpartition(".")[2]
    if name == "data.path":  # a whole path takes much room; the run's data set has it
        return f"path={PurePath(value.strip(QUOTES)).name}"
    return value if name in {"experiment", "callbacks"} else f"{name.rpartition('.')[2]}={value}"
