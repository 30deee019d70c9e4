"""The command ``gradclip``, which starts the others. This module imports nothing from the extra ``pipeline``."""

import os
import sys
from importlib import import_module

from gradclip import __version__
from gradclip.errors import did_you_mean
from gradclip.program import STARTED_IN, install_command
from gradclip.terminal import standard_output

COMMANDS = {
    "train": "train a network, clip its gradients, and track the run",
    "compare": "compare stored runs over seeds",
    "advise": "suggest what to try after a run, from its gradients",
    "predict": "predict new rows with the stored model of a run",
    "sync": "send writes that the store did not accept during training",
    "ui": "serve the MLflow UI for the runs in ./mlruns",
}
USAGE = "\n".join(
    [
        "Reproduce exploding gradients, see them, choose a remedy, and prove with tracked runs that it works.",
        "",
        *(f"gradclip {command:<10}{what}" for command, what in COMMANDS.items()),
        "",
        "gradclip COMMAND --help lists the settings of a command. Runs are stored in mlruns/ in the current folder.",
    ]
)


@standard_output()
def main() -> int:
    """Start a command and return its exit code."""
    script, *arguments = sys.argv
    command = arguments[0] if arguments else "--help"
    if command in {"--help", "-h"}:
        print(USAGE)
        return 0
    if command == "--version":
        print(f"gradclip {__version__}")
        return 0
    if "LOCAL_RANK" in os.environ and command not in COMMANDS:  # Lightning starts more processes without the name
        command, arguments = "train", ["train", *arguments]
    if command not in COMMANDS:
        allowed = f"choose from {', '.join(COMMANDS)}{did_you_mean(command, COMMANDS)}"
        print(f"error: command: got {command!r}; {allowed}", file=sys.stderr)
        return 2
    os.environ[STARTED_IN] = os.getcwd()
    sys.argv = [script, *arguments[1:]]
    try:
        programs = import_module("gradclip.cli.programs")
    except ModuleNotFoundError as error:
        if str(error.name).startswith("gradclip"):
            raise
        print(f"error: gradclip {command}: needs {error.name}; {install_command('pipeline')}", file=sys.stderr)
        return 2
    return int(getattr(programs, command)())
