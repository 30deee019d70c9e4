"""What was started, a script of a checkout or the command ``gradclip``: what messages call it, where its runs are kept.

The scripts keep their runs in the checkout, wherever they are started; the command in the folder that it is started in.
"""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
IS_CHECKOUT = not (PACKAGE / "conf").is_dir()  # a wheel has the configs within the package
PROJECT_ROOT = PACKAGE.parents[1]  # of a checkout
STARTED_IN = "GRADCLIP_STARTED_IN"  # environment variable: the folder that ``gradclip`` was started in, for its workers
SCRIPT = re.compile(r"(?:python )?src/(train|compare|advise|predict|sync)\.py")


def is_script() -> bool:
    """Whether it is a script of a checkout, or any other program that imports the checkout."""
    return IS_CHECKOUT and STARTED_IN not in os.environ


def home() -> Path:
    """The folder in which ``mlruns/`` is."""
    return PROJECT_ROOT if is_script() else Path(os.environ.get(STARTED_IN) or Path.cwd())


def command_line(command: str, arguments: Sequence[str] = ()) -> str:
    """The command line of one of our commands, as it is typed.

    Example:
        >>> command_line("train", ["clip.parameters=*weight"])
        "python src/train.py 'clip.parameters=*weight'"
    """
    started = ["python", f"src/{command}.py"] if is_script() else ["gradclip", command]
    return shlex.join([*started, *arguments])


def as_started(text: str) -> str:
    """A text that names scripts, with the subcommands of ``gradclip`` in their place where that was started."""
    return text if is_script() else SCRIPT.sub(r"gradclip \1", text)


def install_command(extra: str) -> str:
    """The command line that installs an extra.

    Example:
        >>> install_command("ray")
        "python -m pip install --constraint constraints.txt --editable '.[ray]'"
    """
    if IS_CHECKOUT:
        return f"python -m pip install --constraint constraints.txt --editable '.[{extra}]'"
    return f"python -m pip install 'gradclip[{extra}]'"
