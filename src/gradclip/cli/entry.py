"""Shared entry point of all commands: hides passwords, prints errors in one line, sets exit codes."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager, suppress
from inspect import cleandoc
from pathlib import Path
from signal import SIGINT
from tempfile import TemporaryFile
from traceback import walk_tb
from typing import Any, ClassVar

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gradclip import __version__
from gradclip.cli.arguments import check_arguments, overrides_in, with_flag_first, with_globs_expanded, with_home_folder
from gradclip.config.error_messages import USER_ERRORS, describe
from gradclip.config.help import help_text
from gradclip.config.overrides import for_hydra
from gradclip.config.passwords import extract_passwords
from gradclip.config.paths import register_resolvers
from gradclip.errors import ConfigError, disk_errors, first_line
from gradclip.program import PACKAGE, as_started, use_utf8
from gradclip.terminal import standard_output
from gradclip.tracking import FULL_ERRORS
from gradclip.tracking.owner import MAIN_LOCK, RUN_LOCK, at_end
from gradclip.tracking.records import MAIN_FILE, MULTIRUN_FILE
from gradclip.tracking.scratch import remove_abandoned

BOOKKEEPING_FILES = {RUN_LOCK, MAIN_LOCK, MAIN_FILE, MULTIRUN_FILE}  # a folder with only these counts as empty
DISK_BLOCK = 4096  # bytes, the least that most file systems allocate
SOURCE_FOLDERS = (PACKAGE, PACKAGE.parent / "hydra_plugins")
WORKER_KILLED = (
    "hydra.launcher: a worker process was killed (out of memory?); "
    "to continue, repeat the command with skip_finished=true"
)

register_resolvers()  # on import: the configs name this module, so every process that runs a job imports it


@standard_output()
def run_command(main: Callable[[], None], command: str, usage: str) -> int:
    """Run a command's main function and return its exit code.

    A user error prints one line to standard error and exits with code 2; ``HYDRA_FULL_ERROR=1`` shows the traceback
    instead. Any other exception is a bug in gradclip and keeps its traceback. If standard output is closed, the command
    exits silently.

    Args:
        main: main function of the command, decorated by Hydra.
        command: name of the command and of its config.
        usage: first lines of the ``--help`` text.
    """
    use_utf8()
    arguments = sys.argv[1:]
    with errors_in_one_line(command):
        if print_help_or_version(arguments, lambda: help_text(command, cleandoc(usage), overrides_in(arguments))):
            return 0
    remove_abandoned()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # otherwise Hydra prints the error itself and exits with 1
    with errors_in_one_line(command), at_end:
        arguments = extract_passwords(with_home_folder(arguments), os.environ)  # before Hydra stores them
        arguments = with_globs_expanded(arguments, command)
        sys.argv[1:] = with_flag_first(for_hydra(arguments) if command == "train" else arguments)
        check_arguments(sys.argv[1:], command)
        try:
            main()
        except Exception as error:
            if not _is_raised_by_hydra(error):
                raise
            raise ConfigError(f"{first_line(error)}; HYDRA_FULL_ERROR=1 shows the traceback") from error
        finally:
            _remove_empty_folders()
    return 0


def print_help_or_version(arguments: Sequence[str], usage: Callable[[], str]) -> bool:
    """Print the help or the version if requested, and return whether one was printed.

    Args:
        arguments: arguments of the command.
        usage: returns the help text, in which commands have the names of the scripts.
    """
    asks_for_help = bool({"--help", "-h"} & set(arguments))
    if not (asks_for_help or "--version" in arguments):
        return False
    print(as_started(usage()) if asks_for_help else f"gradclip {__version__}")
    return True


@contextmanager
def errors_in_one_line(command: str = "train") -> Iterator[None]:
    """Print a user error as one line and exit with code 2; on Ctrl-C, exit without a traceback.

    Args:
        command: name of the command; suggestions for a mistyped setting come from its settings.

    Raises:
        SystemExit: with code 2 in place of the error, or with the code that shells expect after Ctrl-C. Hydra lets it
            pass, but would report any other exception.
    """
    try:
        with disk_errors("the command's folder or standard output"):
            yield
    except KeyboardInterrupt as stop:
        if FULL_ERRORS:
            raise
        raise SystemExit(128 + SIGINT) from stop
    except (*USER_ERRORS, BrokenExecutor) as error:
        if FULL_ERRORS:
            raise
        with suppress(OSError):  # a full disk or a closed pipe; standard_output() reports it
            sys.stdout.flush()  # what was printed before the error comes before it
        message = WORKER_KILLED if isinstance(error, BrokenExecutor) else describe(error, command)
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(2) from error


def output_folder() -> Path:
    """Return the folder of the command."""
    return Path(HydraConfig.get().runtime.output_dir)


class OutputFolder(Callback):  # type: ignore[misc]  # Hydra is not typed
    """Hydra callback that creates the command's folder and reports a failure in one line, not as Hydra's traceback.

    Attributes:
        created: folders that the command created, including parent folders; outer ones first.
    """

    created: ClassVar[list[Path]] = []

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Create the folder of a run."""
        self._create("hydra.run.dir", config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Create the folder of a multirun, which has a subfolder for each job."""
        self._create("hydra.sweep.dir", config)
        with errors_in_one_line():
            name = str(dict(config.hydra.sweep.items_ex(resolve=False))["subdir"])
            if "/" in name or "${hydra.job.num}" not in name:
                raise ConfigError(f"hydra.sweep.subdir: got {name!r}; must be one name containing ${{hydra.job.num}}")

    def _create(self, setting: str, config: DictConfig) -> None:
        with errors_in_one_line():
            try:
                folder = str(OmegaConf.select(config, setting, throw_on_missing=True))
            except OmegaConfBaseException as error:
                raise ConfigError(f"{setting}: {first_line(error)}") from error
            path = Path(folder).absolute()
            try:
                self.created.extend(parent for parent in (*reversed(path.parents), path) if not parent.exists())
                path.mkdir(parents=True, exist_ok=True)
                with TemporaryFile(dir=path, buffering=0) as file:
                    file.write(bytes(DISK_BLOCK))  # fails on a full disk, on which a folder can still be created
            except OSError as error:
                raise ConfigError(f"{setting}: got {folder!r}; cannot be written: {error.strerror}") from error


def _is_raised_by_hydra(error: Exception) -> bool:
    """Return whether an error is a failure of Hydra itself: it is no user error, and no code of ours raised it."""
    files = [Path(frame.f_code.co_filename) for frame, _ in walk_tb(error.__traceback__)][1:]  # after run_command
    is_known = isinstance(error, (*USER_ERRORS, BrokenExecutor))
    return not is_known and not any(file.is_relative_to(folder) for file in files for folder in SOURCE_FOLDERS)


def _remove_empty_folders() -> None:
    """Remove the folders that the command created, if they hold nothing but its bookkeeping files."""
    for folder in filter(Path.is_dir, reversed(OutputFolder.created)):
        files = list(folder.iterdir())
        if {file.name for file in files} <= BOOKKEEPING_FILES:
            for file in files:
                file.unlink()
            with suppress(OSError):  # another command has written there meanwhile
                folder.rmdir()
