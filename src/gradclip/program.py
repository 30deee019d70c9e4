"""How gradclip was started: by a script of a checkout or by the command ``gradclip``.

Messages use that name. The scripts keep their runs in the checkout; the command keeps them in the folder
where it was started.
"""

import codecs
import locale
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
IS_CHECKOUT = not (PACKAGE / "conf").is_dir()  # a wheel contains the configs in the package
PROJECT_ROOT = PACKAGE.parents[1]  # in a checkout
STARTED_IN = "GRADCLIP_STARTED_IN"  # environment variable: folder where ``gradclip`` was started, for its workers
SCRIPT = re.compile(r"(?:python )?src/(train|compare|advise|predict|sync)\.py")


def use_utf8() -> None:
    """Restart this program in Python's UTF-8 mode if the locale has another encoding, so that all files are UTF-8.

    Child processes inherit the mode.
    """
    if codecs.lookup(locale.getpreferredencoding(False)).name != "utf-8":
        command = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        os.execve(sys.executable, command, os.environ | {"PYTHONUTF8": "1"})


def is_script() -> bool:
    """Return whether a script of a checkout was started, or another program that imports the checkout."""
    return IS_CHECKOUT and STARTED_IN not in os.environ


def home() -> Path:
    """Return the folder that contains ``mlruns/``."""
    return PROJECT_ROOT if is_script() else Path(os.environ.get(STARTED_IN) or Path.cwd())


def command_line(command: str, arguments: Sequence[str] = ()) -> str:
    """Return the command line of one of our commands, as the user types it.

    Example:
        >>> command_line("train", ["clip.parameters=*weight"])
        "python src/train.py 'clip.parameters=*weight'"
    """
    started = ["python", f"src/{command}.py"] if is_script() else ["gradclip", command]
    return shlex.join([*started, *arguments])


def as_started(text: str) -> str:
    """Return a text that names scripts, with subcommands of ``gradclip`` instead if that was started."""
    return text if is_script() else SCRIPT.sub(r"gradclip \1", text)


def install_command(extra: str) -> str:
    """Return the command line that installs an extra.

    Example:
        >>> install_command("ray")
        "python -m pip install --constraint constraints.txt --editable '.[ray]'"
    """
    if IS_CHECKOUT:
        return f"python -m pip install --constraint constraints.txt --editable '.[{extra}]'"
    return f"python -m pip install '.[{extra}]' in a checkout of gradclip"  # which is on no package index
