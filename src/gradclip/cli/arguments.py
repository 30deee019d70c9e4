"""Checks of arguments before Hydra reads them, since Hydra would print a traceback for some, or never return."""

import os
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, RangeSweep
from hydra.errors import HydraException

from gradclip.config.help import config_options
from gradclip.config.limits import MAX_DEPTH, MAX_NAME
from gradclip.config.overrides import NO_THRESHOLD, setting_of
from gradclip.config.paths import CONFIG_FOLDER
from gradclip.errors import ConfigError, first_line
from gradclip.program import as_started
from gradclip.quoting import quoted

ADDED_GROUPS = ("experiment", "sweep", "callbacks")  # accept several options at once: +experiment=[a,b]
OPTION = re.compile(r"\w[\w-]{,99}")
MAX_JOBS = 100_000  # in a multirun: Hydra lists all of them in memory
METHOD_CHOSEN_BY = {"clip", "experiment", "sweep"}
SEARCH = "hydra/sweeper=search"
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir")
IS_GLOB = re.compile(r"\A\+*\w[\w./]*=\s*glob\(")
IN_HOME = re.compile(r"\A([\w.]+)=(~/[^'\",]*)\Z")


def check_arguments(arguments: Sequence[str], command: str) -> None:
    """Refuse arguments that Hydra cannot handle.

    Args:
        arguments: all arguments of the command, including flags.
        command: name of the command and of its config.

    Raises:
        ConfigError: an argument is invalid; the message says what is allowed.
        HydraException: an override cannot be parsed.
    """
    flags = _flags_of(arguments)
    if flags.multirun and command != "train":
        raise ConfigError(as_started("--multirun (-m): only src/train.py runs several jobs"))
    for text in flags.overrides:
        _check_form(text)
    overrides = [_parse(text) for text in flags.overrides]
    for override in overrides:
        _check_option(override)
    sweeps = [override for override in overrides if isinstance(override.value(), ChoiceSweep | RangeSweep)]
    if SEARCH in flags.overrides:
        _check_searched(sweeps)
    else:
        _check_jobs(sweeps)
    if flags.multirun and not (flags.config_dir or flags.config_name):
        _check_method(flags.overrides)


def with_home_folder(arguments: Sequence[str]) -> list[str]:
    """Return arguments with ``~`` expanded after ``name=``; shells expand it only at the start of a word.

    Example:
        >>> with_home_folder(["clip=norm", "data.path=~/homes.csv"])[1].endswith('/homes.csv"')
        True
    """
    return [IN_HOME.sub(lambda found: f"{found[1]}={quoted(os.path.expanduser(found[2]))}", text) for text in arguments]


def with_flag_first(arguments: Sequence[str]) -> list[str]:
    """Return arguments with ``-m`` first, since Hydra refuses overrides on both sides of it.

    Example:
        >>> with_flag_first(["data=wine", "-m", "clip=norm,value"])
        ['-m', 'data=wine', 'clip=norm,value']
    """
    return sorted(arguments, key=lambda argument: argument not in {"-m", "--multirun"})


def with_globs_expanded(arguments: Sequence[str], command: str = "train") -> list[str]:
    """Return arguments with ``glob(...)`` replaced by the options of the group that it matches.

    Everything that counts or names the jobs of a multirun then reads a plain list.

    Args:
        arguments: all arguments of the command, including flags, which may add folders of configs.
        command: name of the command and of its config.

    Raises:
        ConfigError: a glob matches no option, or its setting is not a group.
        HydraException: an override cannot be parsed, or the search path is not a list.

    Example:
        >>> with_globs_expanded(["-m", "clip=glob(n*, exclude=norm*)", "seed=0,1"])
        ['-m', 'clip=none', 'seed=0,1']
    """
    return [_expanded(text, arguments, command) if IS_GLOB.search(text) else text for text in arguments]


def _expanded(text: str, arguments: Sequence[str], command: str) -> str:
    name, _, value = text.partition("=")
    glob, options = _parse(text).value(), _options_on_search_path(setting_of(text), arguments, command)
    matched = glob.filter(options) if isinstance(glob, Glob) else []
    if not matched:
        allowed = f"must match one of {', '.join(options)}" if options else "glob() needs a group, such as clip"
        raise ConfigError(f"{name}: got {value}; {allowed}")
    return f"{name}={','.join(matched)}"


def _options_on_search_path(group: str, arguments: Sequence[str], command: str) -> list[str]:
    """Return the options of a group in all folders that Hydra searches, including those that the arguments add."""
    flags = _flags_of(arguments)
    added = [text for text in flags.overrides if setting_of(text) == "hydra.searchpath"]
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        options = loader.get_group_options(group, config_name=flags.config_name or command, overrides=added)
    in_folder = Path(flags.config_dir, group).glob("*.yaml") if flags.config_dir else []
    return sorted({*options, *(path.stem for path in in_folder)})


def overrides_in(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that are neither flags nor values of flags."""
    return [*_flags_of(arguments).overrides]


def _flags_of(arguments: Sequence[str]) -> Any:
    """Split arguments into flags and overrides as Hydra does, which would answer an unknown flag with its usage."""

    def refuse(message: str) -> None:
        raise ConfigError(f"{message}; --help shows the settings, --hydra-help all flags")

    parser = get_args_parser()
    parser.error = refuse
    return parser.parse_args(list(arguments))


def _check_form(text: str) -> None:
    """Refuse an override without a name, or with a name or nesting that no setting has."""
    name = setting_of(text)
    if not name and "=" in text:
        raise ConfigError(f"{text}: got no name; write name=value")
    if len(name) > MAX_NAME:
        raise ConfigError(f"{name}: got a name of {len(name)} characters; at most {MAX_NAME} are allowed")
    if name == "hydra":
        raise ConfigError(f"{text}: no such setting; name one setting of Hydra, such as hydra.run.dir")
    if name in FOLDERS and not text.partition("=")[2].strip("'\" "):
        raise ConfigError(f"{text}: got no folder; write {name}=path")
    depth = most = 0
    for character in text:
        depth += (character in "[{(") - (character in "]})")
        most = max(most, depth)
    if most > MAX_DEPTH:
        raise ConfigError(f"{text}: got values nested {most} deep; at most {MAX_DEPTH} are allowed")


def _check_method(overrides: Sequence[str]) -> None:
    """Refuse thresholds of a multirun in which no job clips, because nothing chooses a method."""
    typed = {setting_of(text): text.partition("=")[2] for text in overrides}
    if "clip.value" in typed and not METHOD_CHOSEN_BY & set(typed):
        raise ConfigError(f"clip.value: got {typed['clip.value']}; {NO_THRESHOLD}")


def _parse(text: str) -> Override:
    try:
        (override,) = OverridesParser.create().parse_overrides([text])
    except ValueError as error:  # a number with thousands of digits
        raise ConfigError(f"{text}: cannot be parsed: {first_line(error)}") from error
    return override


def _check_jobs(sweeps: Sequence[Override]) -> None:
    """Refuse a multirun with too many jobs, or a sweep without values."""
    if prod(map(_count, sweeps)) > MAX_JOBS:
        typed = " ".join(str(override.input_line) for override in sweeps)
        raise ConfigError(f"{typed}: got more than {MAX_JOBS} jobs; that is the most a multirun can have")


def _check_searched(sweeps: Sequence[Override]) -> None:
    """Refuse a search with too many seeds or choices; it draws from a range of integers of any length."""
    for override in sweeps:
        is_long = _count(override) > MAX_JOBS
        if is_long and (override.key_or_group == "seed" or not isinstance(_values(override), range)):
            raise ConfigError(
                f"{override.input_line}: got more than {MAX_JOBS} values; that is the most a search lists"
            )


def _values(override: Override) -> Iterable[object]:
    """Return the values of a sweep, without listing those of a range."""
    sweep: Any = override.value()
    values: Iterable[object] = sweep.list if isinstance(sweep, ChoiceSweep) else sweep.range()
    return values


def _count(override: Override) -> int:
    """Return the number of values of a sweep, at most one more than a multirun may have jobs."""
    try:
        count = sum(1 for _ in islice(_values(override), MAX_JOBS + 1))
    except ValueError as error:
        raise ConfigError(f"{override.input_line}: {first_line(error)}") from error
    if count == 0:
        raise ConfigError(f"{override.input_line}: got no value; a sweep needs at least one")
    return count


def _check_option(override: Override) -> None:
    """Refuse a value that cannot be an option of a group: a number, or a path, from which Hydra would load any file.

    Hydra reads a name as that of a group if it is a folder in ``conf/``, or like hydra/launcher.
    """
    group, value, typed = override.key_or_group, override.value(), str(override.input_line).lstrip("+~")
    is_group = override.package is not None or "/" in group or (CONFIG_FOLDER / group).is_dir()
    if not is_group or override.value_type is None:  # ~group names no option
        return
    options = config_options(group) if group else []
    no_at = "" if override.package is None else "; a setting's name has no @"
    allowed = f"; choose from {', '.join(options)}" if options else no_at
    is_quoted = not isinstance(value, ChoiceSweep) and bool(set(typed) & {*"'\""})
    for choice in value.list if isinstance(value, ChoiceSweep) else [value]:
        names = choice if isinstance(choice, list) else [choice]
        if is_quoted or not all(isinstance(name, str) and OPTION.fullmatch(name) for name in names):
            raise ConfigError(f"{typed}: no such option{allowed}")
        if isinstance(choice, list) and group not in ADDED_GROUPS:
            raise ConfigError(f"{typed}: choose one option; to run several, use -m {typed.partition('=')[0]}=a,b")


def quoted_for_hydra(argument: str, *names: str) -> str:
    r"""Return an argument with its value quoted, if it sets one of ``names`` and Hydra cannot read it as it is.

    Example:
        >>> quoted_for_hydra("runs=tags.outcome = 'diverged'", "runs")
        'runs="tags.outcome = \'diverged\'"'
        >>> quoted_for_hydra("runs=gradclip", "runs"), quoted_for_hydra("log=norms (1).csv", "log")
        ('runs=gradclip', 'log="norms (1).csv"')
        >>> quoted_for_hydra("data.exclude=[id, größe]", "data.exclude")
        'data.exclude=["id","größe"]'
    """
    name, _, value = argument.partition("=")
    if name not in names or value[:1] in {"'", '"', "~"} or _is_readable(argument):  # ~/ is expanded and quoted later
        return argument
    if not value.startswith("["):
        return f"{name}={quoted(value)}"
    if not value.endswith("]") or set(value[1:-1]) & set("'\"[]"):
        return argument
    return f"{name}=[{','.join(quoted(text.strip()) for text in value[1:-1].split(','))}]"


def _is_readable(argument: str) -> bool:
    try:
        _parse(argument)
    except (HydraException, ConfigError):
        return False
    return True
