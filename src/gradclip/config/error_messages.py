"""One-line messages for all errors that a user can cause: the argument, the value received, what is allowed."""

import re

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from gradclip.config.help import config_groups, config_options, options_with
from gradclip.config.passwords import without_passwords
from gradclip.errors import GradclipError, did_you_mean, first_few, first_line
from gradclip.formatting import printable, shortened

USER_ERRORS = (GradclipError, HydraException, OmegaConfBaseException)
AMBIGUOUS = r"Ambiguous value for argument '(.*?)=(.*)'.*"
LINE = 400  # characters at most: a message may quote a whole file
REWRITTEN = {  # Hydra's messages that do not begin with the argument
    r"Could not append to config. An item is already at '(.*)'": r"\1: already set; write it without a plus",
    r"Could not delete from config. '(.*)' does not exist": r"~\1: not a setting of the chosen options",
    r"Could not delete from config. The value of '(.*)' is (.*) and not .*": r"~\1: its value is \2",
    r"Could not delete '(.*)'. No match in the defaults list": r"~\1: no such group is chosen",
    r"force-add of config groups is not supported: '\++(.*)'": r"\1: write it without pluses",
    AMBIGUOUS: r"\1=\2: several values need --multirun (-m)",
    r"Multiple values for (.*?)\. To override .*": r"\1: already chosen; write it without a plus",
}


def describe(error: Exception, command: str = "train") -> str:
    """Return one line for an error of ours or of Hydra's: shortened, printable and without passwords.

    Suggestions for a mistyped setting come from the settings of the command.
    """
    return shortened(printable(without_passwords(_describe(error, command))), LINE)


def _describe(error: Exception, command: str) -> str:
    line = first_line(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _unknown_option(error)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be parsed; write name=value ({_parser_reason(error)})"
    if line.startswith("Could not override '"):
        return _unknown_name(line.split("'")[1], command)
    if line.startswith("Error merging override "):
        reason = f" ({first_line(error.__cause__)})" if error.__cause__ else ""
        return f"{line.removeprefix('Error merging override ')}: not a valid value for this setting{reason}"
    if "does not support sweep type" in line:
        return "interval(...): a grid needs separate values; list them, or search the range with hydra/sweeper=search"
    if command != "train":  # only train runs several jobs
        line = re.sub(AMBIGUOUS, r"\1=\2: a list needs brackets: \1=[\2]", line)
    for form, rewritten in REWRITTEN.items():
        line = re.sub(form, rewritten, line)
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
        return f"{name}: write it with a plus, +{name}=...; choose from {', '.join(config_options(name))}"
    from gradclip.config.schema import COMMANDS  # takes 0.1 s to import
    from gradclip.config.validation import setting_names

    known = setting_names(COMMANDS[command])
    if name in known:
        options = options_with(name)
        advice = f"it belongs to {first_few(options)}" if options else "`--help` lists its settings"
        return f"{name}: not a setting of the chosen option; {advice}"
    own = f"; an argument of your own class needs a plus, +{name}=..." if name.startswith("model.") else ""
    return f"{name}: no such setting or group{did_you_mean(name, [*groups, *known])}{own}"


def _parser_reason(error: OverrideParseException) -> str:
    if str(error).startswith("LexerNoViableAlt"):  # Hydra reports only the position
        return "special characters need quotes within quotes: \"name='value'\""
    reason = [line for line in str(error).splitlines() if line and not line.startswith("See ")][-1]
    if reason.startswith("missing EQUAL"):
        return "it has no ="
    if reason.startswith("mismatched input '<EOF>'"):
        return "it ends too early: after a comma, or within a bracket"
    return reason
