"""Fixtures for the tests of whole commands: a separate store for each test file, and the commands themselves."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.support.warm_process import WarmProcess

if TYPE_CHECKING:  # MLflow takes seconds to import, before any worker starts
    from mlflow import MlflowClient
    from mlflow.entities import Run

ROOT = Path(__file__).resolve().parents[1]
Command = Callable[..., subprocess.CompletedProcess[str]]
Started = WarmProcess | subprocess.Popen[str]
StartCommand = Callable[..., Started]
SearchRuns = Callable[..., "list[Run]"]
TIMEOUT = 600.0  # seconds; a command takes only a few, but the machine may be busy
KINDS = ("browser", "server", "command", "unit")
FIXTURES = {"browser": {"browser"}, "server": {"server", "database", "store"}, "command": {"start"}}

# Generate the same examples each time. A busy machine would miss a deadline.
hypothesis.settings.register_profile("reproducible", deadline=None, derandomize=True)
hypothesis.settings.load_profile("reproducible")
os.environ.setdefault("TRITON_INTERPRET", str(int(not Path("/dev/nvidiactl").exists())))  # Triton reads it once
gc.disable()  # collection would visit the libraries again and again, while they load and later in each test


def pytest_collection_finish() -> None:
    """Enable garbage collection for objects that the tests create."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Let all objects be freed at exit: from 3.9, Triton prints those of its own that are not."""
    gc.unfreeze()


@pytest.hookimpl(tryfirst=True)  # before -m selects tests by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its kind, and run unit tests last: a long file at the end would occupy a single worker."""
    for item in items:
        item.add_marker(kind_of(item))
    items.sort(key=lambda item: item.get_closest_marker("unit") is not None)


def kind_of(item: pytest.Item) -> str:
    """Return a test's kind: its own marker if it has one, else what its fixtures start, else the kind of its folder."""
    fixtures = set(getattr(item, "fixturenames", ()))
    by_hand = (kind for kind in KINDS if item.get_closest_marker(kind))
    by_fixture = (kind for kind, names in FIXTURES.items() if fixtures & names)
    by_folder = "command" if ROOT / "tests/commands" in item.path.parents else "unit"
    return next(chain(by_hand, by_fixture), by_folder)


def assert_one_error_line(done: subprocess.CompletedProcess[str], message: str) -> None:
    """Assert that a command printed one error line that starts with a message, nothing else, and exited with code 2."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {message}"), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def sync(*arguments: Path | str) -> subprocess.CompletedProcess[str]:
    """Run ``sync.py``, which sends spooled writes."""
    command = [sys.executable, str(ROOT / "src/sync.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)


def folders(store_folder: Path) -> set[Path]:
    """Return the folders of single runs, comparisons and advice."""
    return set(store_folder.glob("mlruns/hydra/runs/*"))


@pytest.fixture(autouse=True)
def no_default_store() -> Iterator[None]:
    """Reset MLflow's default store, which later tests and the processes that they start would inherit."""
    yield
    if mlflow := sys.modules.get("mlflow"):
        mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an empty store for one test file; which files share a worker varies."""
    from tests.support.stores import empty_database

    folder = tmp_path_factory.mktemp("store")
    (folder / "mlflow.db").write_bytes(empty_database())
    return folder


@pytest.fixture(scope="module")
def store_uri(store_folder: Path) -> str:
    return f"sqlite:///{store_folder}/mlflow.db"


@pytest.fixture(scope="module")
def client(store_uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(store_uri)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of an MLflow server with an empty store."""
    from tests.support.mlflow_server import serve

    with serve(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture(scope="module")
def start(store_folder: Path, store_uri: str) -> Iterator[StartCommand]:
    """Return a function that starts a command outside the project's folder, with the test file's store."""
    started: list[Started] = []

    def begin(script: str, *overrides: str, environment: dict[str, str] | None = None, cold: bool = False) -> Started:
        folders = [
            f"tracking.artifacts={store_folder}/artifacts",
            f"hydra.run.dir={store_folder}/mlruns/hydra/runs/${{now:%H-%M-%S-%f}}",
            f"hydra.sweep.dir={store_folder}/mlruns/hydra/multiruns/${{now:%H-%M-%S-%f}}",
        ]
        flags = [argument for argument in overrides if argument.startswith("-")]
        settings = [argument for argument in overrides if argument not in flags]
        arguments = [str(ROOT / f"src/{script}.py"), *flags, *folders, *settings]  # argparse wants the flags first
        variables = os.environ | {"MLFLOW_TRACKING_URI": store_uri} | (environment or {})
        if cold:
            command, pipes = [sys.executable, *arguments], {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            started.append(subprocess.Popen(command, cwd=store_folder, env=variables, text=True, **pipes))
        else:
            started.append(WarmProcess(arguments, store_folder, variables))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:  # left over from a test that failed
            with process:
                process.kill()


@pytest.fixture(scope="module")
def command(start: StartCommand) -> Command:
    """Return a function that starts a command and waits until it ends."""

    def run(*arguments: str, timeout: float = TIMEOUT, **settings: Any) -> subprocess.CompletedProcess[str]:
        with start(*arguments, **settings) as process:
            try:
                output, errors = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    return run


@pytest.fixture(scope="module")
def train(command: Command) -> Command:
    """Return a function that runs ``train.py``."""
    return partial(command, "train")


@pytest.fixture(scope="module")
def advise(command: Command) -> Command:
    """Return a function that runs ``advise.py``."""
    return partial(command, "advise")


@pytest.fixture(scope="module")
def compare(command: Command) -> Command:
    """Return a function that runs ``compare.py``."""
    return partial(command, "compare")


@pytest.fixture(scope="module")
def runs(client: MlflowClient) -> SearchRuns:
    """Return a function that searches the runs of experiment ``gradclip`` in the file's store, newest first."""

    def search(filter_string: str = "") -> list[Run]:
        experiment = client.get_experiment_by_name("gradclip")
        return [] if experiment is None else list(client.search_runs([experiment.experiment_id], filter_string))

    return search
