"""The frame of every command: errors as one line, exit codes, no traceback unless asked for."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from gradclip.config.error_messages import USER_ERRORS, describe
from gradclip.config.help import config_options, help_text
from gradclip.config.passwords import extract_passwords
from gradclip.config.paths import CONFIG_FOLDER
from gradclip.errors import ConfigError
from gradclip.formatting import printable
from gradclip.tracking.owner import RUN_LOCK
from gradclip.tracking.scratch import sweep

ADDED_GROUPS = ("experiment", "sweep")  # of which several may be added at once: +experiment=[a,b]
OPTION = re.compile(r"\w[\w-]*")
FULL_TRACE = os.environ.get("HYDRA_FULL_ERROR") == "1"  # as the user set it: read before run_command sets it


def run_command(main: Callable[[], None], primary: str, usage: str) -> int:
    """Run an entry script's main function and return its exit code.

    A user's error becomes one line on standard error and exit code 2. ``HYDRA_FULL_ERROR=1`` shows the whole
    trace instead. Any other exception is a bug of ours and keeps its traceback.

    Args:
        main: the function, decorated by Hydra.
        primary: name of its config.
        usage: what ``--help`` says first.
    """
    arguments = sys.argv[1:]
    if {"--help", "-h"} & set(arguments):
        print(help_text(primary, usage, arguments))
        return 0
    sweep()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints in its own way and exits with 1
    with errors_in_one_line(primary):
        sys.argv[1:] = extract_passwords(arguments, os.environ)  # before Hydra notes down what was typed
        check_options(sys.argv[1:])
        main()
    return 0


@contextmanager
def errors_in_one_line(primary: str = "train") -> Iterator[None]:
    """Print a user's error as one line and exit with code 2.

    Args:
        primary: name of the command's config, whose settings are suggested for a mistyped one.

    Raises:
        SystemExit: code 2, in place of the error; Hydra lets it pass, where it would announce an exception.
    """
    try:
        yield
    except USER_ERRORS as error:
        if FULL_TRACE:
            raise
        print(f"error: {printable(describe(error, primary))}", file=sys.stderr)
        raise SystemExit(2) from error


@contextmanager
def no_empty_folder() -> Iterator[Path]:
    """Give the folder of the command; one that was made for it is taken away where nothing was left in it."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        yield folder
    finally:
        if folder in OutputFolder.made and not {path.name for path in folder.iterdir()} - {RUN_LOCK}:
            (folder / RUN_LOCK).unlink(missing_ok=True)
            folder.rmdir()


class OutputFolder(Callback):  # type: ignore[misc]  # Hydra is not typed
    """Hydra callback that refuses a folder which cannot be made, where Hydra would end with a trace.

    Attributes:
        made: the folders that were not there before.
    """

    made: ClassVar[set[Path]] = set()

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make the folder of a run."""
        self._make("hydra.run.dir", config.hydra.run.dir)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make the folder of a multirun."""
        self._make("hydra.sweep.dir", config.hydra.sweep.dir)

    def _make(self, setting: str, folder: str) -> None:
        with errors_in_one_line():
            path = Path(folder).absolute()
            try:
                is_new = not path.exists()
                path.mkdir(parents=True, exist_ok=True)
                if is_new:
                    self.made.add(path)
            except OSError as error:
                raise ConfigError(f"{setting}: got {folder!r}; cannot be made: {error.strerror}") from error


def check_options(arguments: Sequence[str]) -> None:
    """Refuse what can be no option of a group: a path, from which Hydra would load any file, or a number.

    Raises:
        ConfigError: with the options that there are.
    """
    for argument in arguments:
        name, equals, option = argument.lstrip("+~").partition("=")
        group, at, _ = name.partition("@")
        if not equals or not (at or _is_group(group)):
            continue
        options = config_options(group) if group else []
        allowed = f"; choose from {', '.join(options)}" if options else "; a setting's name has no @" if at else ""
        if not all(map(_can_be_an_option, option.strip("[]").split(","))):
            raise ConfigError(f"{name}={option}: no such option{allowed}")
        if option.startswith("[") and group not in ADDED_GROUPS:
            raise ConfigError(f"{name}={option}: one option is chosen at a time; for several runs -m {name}=a,b")


def _is_group(name: str) -> bool:
    """Whether Hydra takes the name for a group: a folder in ``conf/``, or one of its own, such as hydra/launcher."""
    return "/" in name or (CONFIG_FOLDER / name).is_dir()


def _can_be_an_option(text: str) -> bool:
    """Whether a text can be the name of a file in ``conf/``: no path, and no number, truth value or null to Hydra."""
    if not OPTION.fullmatch(text) or text.lower() in {"null", "true", "false"}:
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False


def quoted_for_hydra(argument: str, name: str) -> str:
    r"""A setting whose value has quotes of its own, as Hydra has to be given it.

    Example:
        >>> quoted_for_hydra("runs=tags.outcome = 'diverged'", "runs")
        'runs="tags.outcome = \'diverged\'"'
        >>> quoted_for_hydra("runs=gradclip", "runs")
        'runs=gradclip'
    """
    value = argument.removeprefix(f"{name}=")
    if value == argument or value[:1] in {"'", '"', "["} or not set(value) & set("'\"`<>="):
        return argument
    return f"{name}={QuotedString(value, Quote.double).with_quotes()}"
