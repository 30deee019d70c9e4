"""What ``--help`` prints: the groups and settings under ``conf/``, each with the words that stand beside it there.

Hydra's own help leaves the comments out, and takes a second to list what this lists at once.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import indent
from typing import Any

import yaml

from gradclip.config.paths import CONFIG_FOLDER

SETTING = re.compile(r"^(\w+): *(.*?)(?: +# (.*))?$")
NOT_SETTINGS = {"defaults", "hydra"}


def manual(primary: str, usage: str, overrides: Sequence[str] = ()) -> str:
    """Describe all that a command can be told.

    Args:
        primary: name of the command's primary config.
        usage: how the command is called, a few lines.
        overrides: choices such as ``clip=norm``, whose settings are shown in place of the default's.
    """
    path = CONFIG_FOLDER / f"{primary}.yaml"
    chosen = _chosen(_defaults(path), dict(override.split("=", 1) for override in overrides if "=" in override))
    groups = groups_of(primary)
    shown = [*_defaults(path), *(group for group in chosen if group.startswith("hydra/"))]
    settings = [line for group in shown for line in _settings(group, chosen[group])]
    own = [_row(name, value, comment) for name, value, comment in _lines(path)]
    many = "-m for many runs and " if primary == "train" else ""
    return "\n".join(
        [
            usage.rstrip(),
            "",
            f"Groups, chosen with group=option; * is chosen now{_added(groups)}:",
            *(line for group in groups for line in ["", group, *_option_rows(group, chosen.get(group))]),
            "",
            "Settings, changed with name=value:",
            "",
            *own,
            *settings,
            "",
            f"Hydra's own flags, such as {many}--cfg job to see the settings: --hydra-help",
        ]
    )


def groups_of(primary: str) -> list[str]:
    """The groups that a command chooses from; training can add any."""
    groups = sorted({file.parent.relative_to(CONFIG_FOLDER).as_posix() for file in CONFIG_FOLDER.glob("*/**/*.yaml")})
    defaults = _defaults(CONFIG_FOLDER / f"{primary}.yaml")
    return [group for group in groups if group in defaults or primary == "train"]


def options_of(group: str) -> list[str]:
    """The options of a group."""
    return sorted(path.stem for path in (CONFIG_FOLDER / group).glob("*.yaml"))


def _added(groups: Sequence[str]) -> str:
    return "; experiment and sweep want a plus, +experiment=option" if "experiment" in groups else ""


def _chosen(defaults: dict[str, str], told: dict[str, str]) -> dict[str, str]:
    """The option of each group: as told, or else as a chosen option asks, or else the default."""
    brought = [choices_of(CONFIG_FOLDER / group / f"{option}.yaml") for group, option in (defaults | told).items()]
    return defaults | {group: option for options in brought for group, option in options.items()} | told


def choices_of(path: Path) -> dict[str, str]:
    """The options of other groups that a file chooses, by ``override /clip: norm`` or ``override /model@...: rnn``."""
    found = _defaults(path) if path.is_file() else {}
    parts = {key.removeprefix("override /").partition("@")[0]: option for key, option in found.items()}
    return {group: option for group, option in parts.items() if (CONFIG_FOLDER / group).is_dir()}


def _defaults(path: Path) -> dict[str, str]:
    """The entries of a file's defaults list that choose a group's option."""
    entries: list[Any] = yaml.safe_load(path.read_text()).get("defaults", [])
    return {key: option for entry in entries if isinstance(entry, dict) for key, option in entry.items()}


def _option_rows(group: str, chosen: str | None) -> Iterator[str]:
    for path in sorted((CONFIG_FOLDER / group).glob("*.yaml")):
        mark = "*" if path.stem == chosen else " "
        yield f" {mark} {path.stem:<34}{_title(path)}"


def _title(path: Path) -> str:
    """The first comment of a file."""
    comments = (line for line in path.read_text().splitlines() if line.startswith("# ") and "@package" not in line)
    return next(comments).removeprefix("# ")


def _settings(group: str, option: str) -> list[str]:
    path = CONFIG_FOLDER / group / f"{option}.yaml"
    if not path.is_file():
        return []
    entries: list[Any] = yaml.safe_load(path.read_text()).get("defaults", [])
    base = [entry for entry in entries if isinstance(entry, str) and entry != "_self_"]
    found = {name: line for parent in base for name, *line in _lines(CONFIG_FOLDER / group / f"{parent}.yaml")}
    found |= {name: line for name, *line in _lines(path)}
    hidden = {"_target_"} if group.startswith("hydra/") else {"name"}
    return [_row(f"{group.replace('/', '.')}.{name}", *line) for name, line in found.items() if name not in hidden]


def _lines(path: Path) -> Iterator[tuple[str, str, str]]:
    """Name, value and meaning of each setting of a file."""
    for line in path.read_text().splitlines():
        match = SETTING.match(line)
        if match and match[1] not in NOT_SETTINGS:
            yield match[1], match[2], match[3] or ""


def _row(name: str, value: str, comment: str) -> str:
    return indent(f"{f'{name}={value}':<42} {comment}".rstrip(), "   ")
