"""Whole commands without their seconds of imports: each is the fork of a process that has loaded the libraries.

The script runs as a shell would have it run: own arguments, folder, environment, output, signals and exit code. Its
tracking process is forked too. What only a cold start can show asks for one.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

LOADED = [
    "gradclip.training.pipeline",
    "gradclip.sweep.replica_runs",
    "gradclip.stacked.training",
    "gradclip.compare.figures",
    "gradclip.cli.advise",
    "gradclip.tracking.backend.delivery",
    "gradclip.tracking.backend.models",
    "gradclip.tracking.backend.queries",
    "gradclip.tracking.backend.recovery",
    "gradclip.tracking.backend.writes",
    "mlflow.pyfunc",
]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.support.preload"])


class WarmProcess:
    """What the tests need of ``subprocess.Popen``, for a command that is forked.

    Args:
        args: the script, and its arguments.
        cwd: the folder that it runs in.
        env: its environment variables.
    """

    def __init__(self, args: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
        self.args = args
        self._scratch = tempfile.TemporaryDirectory()
        self._outputs = [Path(self._scratch.name, name) for name in ("output", "errors")]
        self._process = FORKS.Process(target=_run, args=(list(args), str(cwd), dict(env), self._outputs))
        self._process.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.join()

    @property
    def returncode(self) -> int | None:
        """The exit code, or minus the number of the signal that ended it."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end, and return what it wrote to standard output and standard error."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        output, errors = (path.read_text() for path in self._outputs)
        return output, errors

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it as a loss of power would."""
        self.send_signal(signal.SIGKILL)


def _run(args: Sequence[str], folder: str, environment: Mapping[str, str], outputs: Sequence[Path]) -> None:
    """Be the command. Runs in the fork."""
    os.chdir(folder)
    os.environ.update(environment)  # what MLflow and torch were told while they were loaded stays
    for descriptor, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    named = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.argv, sys.path[:0] = list(args), [str(Path(args[0]).parent), *filter(None, named)]
    multiprocessing.set_start_method("fork", force=True)  # as a script finds it
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background and ignore it
    contexts = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: contexts("fork" if method == "spawn" else method)
    try:
        runpy.run_path(args[0], run_name="__main__")
    finally:
        threading._shutdown()  # the end of Python, which multiprocessing cuts short
        atexit._run_exitfuncs()
