"""Cost of a sweep under ``hydra/launcher=vectorized``, compared with single runs and other launchers.

``python -m tests.benchmarks.vectorized`` prints Markdown tables, which takes about ten minutes on two idle cores. With
``python -m tests.benchmarks.vectorized 1 10 100`` the second table ends at 100 replicas. Everything is tracked in one
existing store. The basic and joblib launchers are measured on a dozen jobs, and extrapolated from the time of one more
job.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import mean

import torch

from gradclip.compare.comparison import compare
from gradclip.config.schema import TrainConfig
from gradclip.program import PROJECT_ROOT
from gradclip.stacked.replicas import make_replicas
from gradclip.stacked.training import StackedTraining, keep_freed_memory
from gradclip.sweep.replica_runs import ReplicaRuns
from gradclip.tracking.owner import MAIN_LOCK
from gradclip.tracking.records import PARENT_FILE, Parent, Store, now
from gradclip.training.job import Job
from gradclip.training.result import Result
from tests.benchmarks.speed import compose_main_job, seconds

REPLICAS = (1, 10, 100, 1000, 4000)
SEEDS = 20
SETTINGS = 20
SINGLE_RUNS = 3  # averaged
CPU = torch.device("cpu")
JOBS = 12  # further jobs of the other launchers


class Commands:
    """The train command with its own store and folder, and a timeout in seconds."""

    def __init__(self, folder: Path, timeout: float | None = None) -> None:
        self.folder, self.timeout = folder, timeout

    def seconds(self, *overrides: str) -> float:
        """Return how long one call of the command takes from a cold start."""
        places = [
            f"tracking.artifacts={self.folder}/artifacts",
            f"hydra.run.dir={self.folder}/runs/${{now:%H-%M-%S-%f}}",
            f"hydra.sweep.dir={self.folder}/multiruns/${{now:%H-%M-%S-%f}}",
        ]
        command = [sys.executable, "src/train.py", *overrides, *places]
        environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{self.folder}/mlflow.db"}
        call = partial(subprocess.run, command, cwd=PROJECT_ROOT, env=environment, timeout=self.timeout)
        return seconds(lambda: call(check=True, capture_output=True))

    def single(self) -> float:
        """Return the seconds of the tutorial's run."""
        return self.seconds("clip=norm", "clip.value=1.0")

    def vectorized(self, settings: int, seeds: int, *overrides: str) -> float:
        """Return the seconds of a stacked multirun of thresholds and seeds."""
        return self.seconds("-m", "hydra/launcher=vectorized", *grid(settings, seeds), *overrides)

    def one_more_job(self, launcher: str, *overrides: str) -> float:
        """Return the seconds that one more job takes with another launcher."""
        first, more = (
            self.seconds("-m", f"hydra/launcher={launcher}", *grid(jobs, 1), *overrides) for jobs in (2, 2 + JOBS)
        )
        return (more - first) / JOBS


def grid(settings: int, seeds: int) -> tuple[str, ...]:
    """Return the overrides for several thresholds of the norm and several seeds."""
    thresholds = ",".join(f"{0.5 * (1 + number):g}" for number in range(settings))
    return "clip=norm", f"clip.value={thresholds}", f"seed=range({seeds})"


def compare_launchers(commands: Commands) -> float:
    """Print the first table; return the seconds of 400 runs."""
    runs = SETTINGS * SEEDS
    singles = [commands.single() for _ in range(SINGLE_RUNS)]
    vectorized = commands.vectorized(SETTINGS, SEEDS)
    rows = [("one run, started cold", 1, mean(singles)), ("vectorized", runs, vectorized)]
    for launcher, names in (("basic", ()), ("joblib", ("hydra.launcher.n_jobs=2",))):
        for what, options in (("", ()), (", no figures and models", ("figures=false", "log_model=false"))):
            rows.append((f"{launcher}{what}", runs, runs * commands.one_more_job(launcher, *names, *options)))
    print(f"| {runs} tracked runs | seconds | seconds a run | vectorized is faster by |\n|---|---|---|---|", flush=True)
    for name, count, taken in rows:
        print(f"| {name} | {taken:.1f} | {taken / count:.3f} | {taken / count * runs / vectorized:.1f} |")
    print(f"\n{runs} runs take as long as {vectorized / mean(singles):.1f} single ones (limit: 8).\n", flush=True)
    return vectorized


def cost_by_number(commands: Commands, numbers: tuple[int, ...]) -> None:
    """Print the second table: seconds and memory of multiruns of several sizes."""
    print("| runs | seconds | milliseconds a run | peak memory, MB |\n|---|---|---|---|")
    for number in numbers:
        seeds = min(number, SEEDS)
        taken = commands.vectorized(number // seeds, seeds)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # largest process so far
        print(f"| {number:,} | {taken:.1f} | {1000 * taken / number:.0f} | {peak:,.0f} |", flush=True)


def where_time_goes(folder: Path, total: float) -> None:
    """Print the third table: the parts of 400 runs, measured one after the other in one process."""
    torch.set_num_threads(1)  # as the command does, since the other core writes
    keep_freed_memory()
    configs, parent = settings_of_all(folder), Parent(str(folder / "parts"), "parts", {})
    jobs = [Job(config, (), Path(parent.folder, str(number)), number, parent) for number, config in enumerate(configs)]
    taken: dict[str, float] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        taken[name] = seconds(work)

    replicas = make_replicas(configs)
    runs, done = ReplicaRuns(points=100, keep_all=False, lock=Path(parent.folder, MAIN_LOCK)), dict[int, Result]()
    runs.begin([(job, replica.data) for job, replica in zip(jobs, replicas, strict=True)])
    training = StackedTraining(replicas, CPU)
    timed("training, while the store begins the runs", lambda: done.update(chain.from_iterable(training.run())))
    timed("files of telemetry, while the store ends the runs", lambda: runs.end(done.items(), now()))
    timed("figures and models of two runs, and waiting for the store", runs.finish)
    parent_id = json.loads(Path(parent.folder, PARENT_FILE).read_text())["run_id"]
    timed("comparison, with figures", lambda: compare(Store.of(configs[0].tracking), parent_id, folder / "comparison"))
    taken["all else: Python, libraries, Hydra's configs"] = total - sum(taken.values())
    print("| of 400 runs | seconds |\n|---|---|")
    for name, value in {**taken, "whole command": total}.items():
        print(f"| {name} | {value:.1f} |")


def settings_of_all(folder: Path) -> list[TrainConfig]:
    """Return the configs of 400 runs."""
    base = compose_main_job(f"sqlite:///{folder}/mlflow.db", str(folder))
    return [
        base.model_copy(update={"seed": seed, "clip": base.clip.model_copy(update={"value": 0.5 * (1 + setting)})})
        for setting in range(SETTINGS)
        for seed in range(SEEDS)
    ]


def main() -> int:
    """Print the tables; the exit code is 1 if 400 runs take longer than 8 single runs."""
    numbers = tuple(map(int, sys.argv[1:])) or REPLICAS
    with tempfile.TemporaryDirectory() as name:
        commands = Commands(Path(name))
        commands.single()  # creates the store
        vectorized = compare_launchers(commands)
        limit = 8 * commands.single()
        cost_by_number(commands, numbers)
        print()
        where_time_goes(Path(name), vectorized)
    return int(vectorized > limit)


if __name__ == "__main__":
    sys.exit(main())
