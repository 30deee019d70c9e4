"""Commands that start without seconds of imports, as forks of a process that has loaded the libraries.

The script runs as in a shell, with its own arguments, folder, environment, output, signals and exit code. Its tracking
process is forked too. Tests of start-up itself use a cold start instead.
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
    """A forked command with the part of the interface of ``subprocess.Popen`` that the tests need.

    Args:
        args: the script and its arguments.
        cwd: working directory.
        env: environment variables.
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
        """Exit code, or minus the number of the signal that ended the process."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait until the process ends and return its standard output and standard error."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        output, errors = (path.read_text() for path in self._outputs)
        return output, errors

    def send_signal(self, number: int) -> None:
        """Send a signal to the process."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Kill the process, as a power loss would."""
        self.send_signal(signal.SIGKILL)


def _run(args: Sequence[str], folder: str, environment: Mapping[str, str], outputs: Sequence[Path]) -> None:
    """Run the script in the fork."""
    os.chdir(folder)
    os.environ.update(environment)  # does not change what MLflow and torch read when they were imported
    for descriptor, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    named = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.argv, sys.path[:0] = list(args), [str(Path(args[0]).parent), *filter(None, named)]
    multiprocessing.set_start_method("fork", force=True)  # the default of a script
    signal.signal(signal.SIGINT, signal.default_int_handler)  # SIGINT is ignored if the tests run in the background
    contexts = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: contexts("fork" if method == "spawn" else method)
    try:
        runpy.run_path(args[0], run_name="__main__")
    finally:
        threading._shutdown()  # Python's exit, which multiprocessing skips
        atexit._run_exitfuncs()
