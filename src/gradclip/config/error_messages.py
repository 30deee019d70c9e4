"""One line for each error that a user can cause: the argument, the value received, what is allowed."""

from typing import TYPE_CHECKING

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from gradclip.config.help import config_groups, config_options
from gradclip.config.passwords import without_passwords
from gradclip.errors import GradclipError, did_you_mean, first_line

if TYPE_CHECKING:
    from gradclip.config.base import Settings

USER_ERRORS = (GradclipError, HydraException, OmegaConfBaseException)


def describe(error: Exception, command: str = "train") -> str:
    """One line for an error of ours or of Hydra's, in which no password is shown.

    Args:
        error: the error.
        command: the command that was called, whose settings are suggested for a mistyped one.
    """
    return without_passwords(_line(error, command))


def _line(error: Exception, command: str) -> str:
    line = first_line(error)
    if isinstance(error, MissingConfigException):
        return _unknown_option(error)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be parsed; write name=value ({_parser_reason(error)})"
    if line.startswith("Could not override '"):
        return _unknown_name(line.split("'")[1], command)
    if line.startswith("Ambiguous value"):
        return f"{line.split(chr(39))[1]}: several values need --multirun (-m)"
    if "does not support sweep type" in line:
        return "interval(...): a grid cannot try a range; list the values, or search it with hydra/sweeper=search"
    return line if line.endswith("...") else line.rstrip(".")


def _unknown_option(error: MissingConfigException) -> str:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    options = error.options or config_options(group)
    if not group or not options:
        return f"{error.missing_cfg_file}: no such config"
    return f"{group}={option}: no such option{did_you_mean(option, options)}; choose from {', '.join(options)}"


def _unknown_name(name: str, command: str) -> str:
    groups = config_groups(command)
    if name in groups:
        return f"{name}: write it with a plus, +{name}=..., from {', '.join(config_options(name))}"
    from gradclip.config.validation import setting_names

    known = setting_names(_settings_of(command))
    if name in known:
        return f"{name}: not a setting of the option that is chosen; `--help` lists those it has"
    return f"{name}: no such setting or group{did_you_mean(name, [*groups, *known])}"


def _settings_of(command: str) -> "type[Settings]":
    from gradclip.config.schema import AdviseSettings, CompareSettings, TrainConfig

    classes: dict[str, type[Settings]] = {"train": TrainConfig, "compare": CompareSettings, "advise": AdviseSettings}
    return classes[command]


def _parser_reason(error: OverrideParseException) -> str:
    if str(error).startswith("LexerNoViableAlt"):  # Hydra says no more than where
        return "unusual characters want quotes: name='value'"
    lines = [line for line in str(error).splitlines() if line and not line.startswith("See ")]
    return lines[-1]
