"""The text of ``--help``: the groups and settings in ``conf/`` with their comments.

Hydra's own help omits the comments and takes a second to compose.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import indent
from typing import Any

import yaml

from gradclip.config.paths import CONFIG_FOLDER
from gradclip.errors import ConfigError, check_choice

SETTING = re.compile(r"^( *)(\w+): *(.*?)(?: +# (.*))?$")
NOT_SETTINGS = {"defaults", "hydra"}
WHOLE_CONFIG = {"experiment", "sweep"}  # groups whose options change settings of other groups (@package _global_)


def help_text(command: str, usage: str, overrides: Sequence[str] = ()) -> str:
    """Return the help of a command: usage, the options of each group, and the settings of the chosen options.

    If an argument chooses an option, such as ``clip=norm``, the help covers only this option and those that it chooses.

    Args:
        command: name of the command and of its config.
        usage: first lines of the help.
        overrides: arguments of the command.

    Raises:
        ConfigError: an argument chooses an option that does not exist, or is only a word.
    """
    path = CONFIG_FOLDER / f"{command}.yaml"
    defaults, groups = _defaults(path), config_groups(command)
    if words := [override for override in overrides if "=" not in override]:
        raise ConfigError(f"--help: got {words[0]!r}; write {_instead_of(words[0], groups)}")
    choices = dict(override.lstrip("+").split("=", 1) for override in overrides)
    chosen = _chosen_options(defaults, choices)
    for group in choices.keys() & set(groups):
        check_choice(group, choices[group], config_options(group), ConfigError)
    if any(choice in groups for choice in choices):
        differing = [group for group in chosen if chosen[group] != defaults.get(group)]
        return _help_of_options({group: chosen[group] for group in [*choices, *differing] if group in groups}, command)
    added = "; callbacks, experiment and sweep need a plus: +experiment=option" if "experiment" in groups else ""
    many = "-m (many runs) and " if command == "train" else ""
    return "\n".join(
        [
            usage.rstrip(),
            "",
            f"Groups (choose with group=option; * marks the current option{added}):",
            *(line for group in groups for line in ["", group, *_option_rows(group, chosen.get(group))]),
            "",
            "Settings (change with name=value):",
            "",
            *(_setting_row(*setting) for setting in _settings(path)),
            *(row for group in defaults for row in _setting_rows(group, chosen[group]).values()),
            "",
            f"Hydra's own flags, such as {many}--cfg job (print the settings): --hydra-help",
        ]
    )


def _instead_of(word: str, groups: Sequence[str]) -> str:
    """Return what to write for a word that is the name of an option, of a group or of a setting, or none of these."""
    if found := [f"{group}={word}" for group in groups if word in config_options(group)]:
        return " or ".join(found)
    group = word.partition(".")[0]
    if group in groups:
        return f"{group}=option; choose from {', '.join(config_options(group))}"
    return f"group=option, where the group is {' | '.join(groups)}, or --help alone for everything"


def _help_of_options(options: dict[str, str], command: str) -> str:
    """Return the help of options, given by group: a title line for each, then their settings."""
    titles = [row for group, option in options.items() for row in [group, *_option_rows(group, option, [option])]]
    groups = sorted(options, key=lambda group: group in WHOLE_CONFIG)  # last: it changes settings of the other groups
    settings = {name: row for group in groups for name, row in _setting_rows(group, options[group]).items()}
    everything = f"All groups and settings: python src/{command}.py --help"
    return "\n".join([*titles, "", "Settings (change with name=value):", "", *settings.values(), "", everything])


def config_groups(command: str) -> list[str]:
    """Return the groups of a command: those in its defaults list, or all groups for ``train``."""
    groups = sorted({file.parent.relative_to(CONFIG_FOLDER).as_posix() for file in CONFIG_FOLDER.glob("*/**/*.yaml")})
    defaults = _defaults(CONFIG_FOLDER / f"{command}.yaml")
    return [group for group in groups if group in defaults or command == "train"]


def config_options(group: str) -> list[str]:
    """Return the names of a group's options."""
    return sorted(path.stem for path in (CONFIG_FOLDER / group).glob("*.yaml"))


def options_with(name: str) -> list[str]:
    """Return the options that have a setting, such as ``clip=zscore`` for ``clip.alpha``."""
    group = name.partition(".")[0]
    return [f"{group}={option}" for option in config_options(group) if name in _setting_rows(group, option)]


def overridden_options(path: Path) -> dict[str, str]:
    """Return the options of other groups that a config file chooses, such as ``override /clip: norm``, by group."""
    found = _defaults(path) if path.is_file() else {}
    options = {key.removeprefix("override /").partition("@")[0]: option for key, option in found.items()}
    return {group: option for group, option in options.items() if (CONFIG_FOLDER / group).is_dir()}


def _chosen_options(defaults: dict[str, str], choices: dict[str, str]) -> dict[str, str]:
    """Return the option of each group: the given one, else the one that a chosen option sets, else the default."""
    paths = [CONFIG_FOLDER / group / f"{option}.yaml" for group, option in (defaults | choices).items()]
    overridden = {group: option for path in paths for group, option in overridden_options(path).items()}
    return defaults | overridden | choices


def _defaults(path: Path) -> dict[str, str]:
    """Return the entries of a file's defaults list that choose an option of a group."""
    return {key: option for entry in _defaults_list(path) if isinstance(entry, dict) for key, option in entry.items()}


def _defaults_list(path: Path) -> list[Any]:
    entries: list[Any] = yaml.safe_load(path.read_text()).get("defaults", [])
    return entries


def _option_rows(group: str, chosen: str | None, only: Sequence[str] | None = None) -> Iterator[str]:
    """Yield a line for each option of a group, or for those in ``only``, with the first comment of its file."""
    for path in sorted((CONFIG_FOLDER / group).glob("*.yaml")):
        if only is not None and path.stem not in only:
            continue
        mark = "*" if path.stem == chosen else " "
        lines = path.read_text().splitlines()
        title = next(line for line in lines if line.startswith("# ") and "@package" not in line)
        yield f" {mark} {path.stem:<34}{title.removeprefix('# ')}"


def _setting_rows(group: str, option: str) -> dict[str, str]:
    """Return a line for each setting of an option, by its name, including inherited settings."""
    path = CONFIG_FOLDER / group / f"{option}.yaml"
    if not path.is_file():
        return {}
    parents = [entry for entry in _defaults_list(path) if isinstance(entry, str) and entry != "_self_"]
    files = [*(CONFIG_FOLDER / group / f"{parent}.yaml" for parent in parents), path]
    found = {name: rest for file in files for name, *rest in _settings(file)}
    hidden = {"_target_"} if group.startswith("hydra/") else {"name"}
    prefix = "" if group in WHOLE_CONFIG else f"{group.replace('/', '.')}."
    named = {f"{prefix}{name}": rest for name, rest in found.items() if name not in hidden}
    return {name: _setting_row(name, *rest) for name, rest in named.items()}


def _settings(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and comment of each setting in a file; a nested setting has a dotted name."""
    outer = ""
    for line in path.read_text().splitlines():
        match = SETTING.match(line)
        if match is None:
            continue
        inner, name, value, comment = match.groups(default="")
        outer = outer if inner else name
        if value and outer not in NOT_SETTINGS:
            yield f"{outer}.{name}" if inner else name, value, comment


def _setting_row(name: str, value: str, comment: str) -> str:
    return indent(f"{f'{name}={value}':<42} {comment}".rstrip(), "   ")
