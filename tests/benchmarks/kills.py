"""Kills of commands by SIGKILL: the damage they leave, and whether repeating the command completes the work."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from uuid import uuid4

import psutil
from mlflow import MlflowClient
from mlflow.entities import Run

from gradclip import keys
from gradclip.tracking.records import SPOOL_FILE
from tests.conftest import ROOT

RESUMED, EPOCHS, STEPS = 20, 60, 60 * 16
TOKEN = "GRADCLIP_KILLED"  # environment variable that marks all processes of a command
PATIENCE = 600.0  # seconds; long enough for a busy machine
GONE_AFTER = 15.0  # seconds until all processes of a killed command must have ended
LIGHT = ("clip=norm", "figures=false", "log_model=false", "trainer.progress_bar=false")
MULTIRUN = ("-m", "seed=0,1,2", "skip_finished=true")
LAUNCHERS = {
    "single": (),
    "basic": MULTIRUN,
    "joblib": (*MULTIRUN, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "vectorized": (*MULTIRUN, "hydra/launcher=vectorized", "hydra.launcher.points=100000"),
    "chunks": (
        *(*MULTIRUN, "hydra/launcher=vectorized_joblib", "hydra.launcher.chunk=2"),
        *("hydra.launcher.over.n_jobs=2", "hydra.launcher.within.points=100000"),
    ),
}
GROUP, MAIN = "process group", "main process"
IN_COMMAND = {"worker": "popen_loky_posix", "tracking process": "multiprocessing.spawn"}
VICTIMS = {
    launcher: (MAIN, GROUP if launcher in {"single", "basic", "vectorized"} else "worker", "tracking process")
    for launcher in LAUNCHERS
}
CREATION = "creation"  # while the database is created
MOMENTS = (CREATION, "training", "training")  # "training" starts once the first run has begun
Row = tuple[str, str]


def resumed(folder: Path) -> Iterator[Row]:
    """Kill and resume a run many times, and compare it with an undisturbed run."""
    client, source, killed = MlflowClient(f"sqlite:///{folder}/mlflow.db"), random.Random(0), 0
    settings = (*LIGHT, "trainer.max_epochs=1500")
    while killed < RESUMED:
        command = _start(folder, *(["resume=last"] if killed else settings))
        before = _last_step(client, folder)
        while command.process.poll() is None and _last_step(client, folder) == before:
            time.sleep(0.1)
        time.sleep(source.uniform(0, 1))
        if command.process.poll() is not None:
            break
        command.process.kill()
        command.process.wait()
        killed += 1
    assert _start(folder, "resume=last").process.wait() == 0 or killed < RESUMED
    assert _start(folder, *settings).process.wait() == 0
    whole, ours = client.search_runs(["1"], "attributes.status = 'FINISHED'")
    theirs, mine = _points(client, whole), _points(client, ours)
    yield f"points lost over {killed} kills (SIGKILL) at random moments, of {len(theirs):,}", str(len(theirs - mine))
    doubled = sum(len(client.get_metric_history(ours.info.run_id, key)) for key in ours.data.metrics) - len(mine)
    yield "points doubled", str(doubled)
    yield "points and final numbers that differ from an undisturbed run", str(len(mine ^ theirs))


def _last_step(client: MlflowClient, folder: Path) -> int:
    for run in client.search_runs(["1"], max_results=1) if [*folder.glob("runs/*/run.json")] else []:
        return max((metric.step for metric in run.data._metric_objs), default=0)
    return 0


def _points(client: MlflowClient, run: Run) -> set[tuple[str, int, str]]:
    histories = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
    return {(key, point.step, repr(point.value)) for key, history in histories.items() for point in history}


@dataclass(frozen=True)
class Damage:
    """Damage that a kill leaves after the same command was repeated; each count should be 0."""

    processes: int
    points_lost: int
    points_doubled: int
    runs_left_running: int
    writes_left_unsent: int


def launched(folder: Path) -> Iterator[Row]:
    """Kill the main process, a worker or the process group, and a tracking process of commands of each launcher."""
    source, damages = random.Random(0), defaultdict[tuple[str, str], list[Damage]](list)
    for number, moment in enumerate(MOMENTS):
        for launcher, victims in VICTIMS.items():
            for victim in victims:
                place = folder / f"{launcher} {victim} {number}".replace(" ", "-")
                damages[launcher, victim].append(_one_kill(place, launcher, victim, moment, source))
    names = ", ".join(field.name.replace("_", " ") for field in fields(Damage))
    for (launcher, victim), some in damages.items():
        sums = [sum(counts) for counts in zip(*map(astuple, some), strict=True)]
        what = f"{names} after {len(some)} kills of {launcher}, {victim}"
        yield what, ", ".join(map(str, sums)) if any(sums) else "0"


def _one_kill(folder: Path, launcher: str, victim: str, moment: str, source: random.Random) -> Damage:
    folder.mkdir()
    settings = (*LAUNCHERS[launcher], *LIGHT, f"trainer.max_epochs={EPOCHS}")
    command = _start(folder, *settings)
    _wait(command, lambda: _has_come(moment, folder))
    time.sleep(source.uniform(0.0, 1.0 if moment == CREATION else 5.0))
    missed = "" if _kill(command, victim) else " missed"
    code, start = command.process.wait(PATIENCE), time.monotonic()
    while command.processes() and time.monotonic() - start < GONE_AFTER:
        time.sleep(0.1)
    seconds, left = time.monotonic() - start, command.processes()
    for process in left:
        process.kill()
    codes = _give_again(folder, settings, is_single=launcher == "single")
    damage = _damage(folder, len(left), {"0"} if launcher == "single" else {"0", "1", "2"})
    what = f"{launcher}, {victim}{missed} at {moment}: exit code {code}, all gone {seconds:.1f} s later"
    print(f"{what}; repeated: {codes}; {damage}", file=sys.stderr, flush=True)
    return damage


@dataclass(frozen=True)
class Command:
    """A running command that will be killed."""

    token: str
    process: "subprocess.Popen[bytes]"

    def processes(self, kind: str = "") -> list[psutil.Process]:
        """Return all processes of the command whose command line contains a word, even if they were reparented."""
        return [process for process in psutil.process_iter() if self._has(process, kind)]

    def _has(self, process: psutil.Process, kind: str) -> bool:
        try:
            is_alive = process.status() != psutil.STATUS_ZOMBIE
            return is_alive and process.environ().get(TOKEN) == self.token and kind in " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False


def _start(folder: Path, *overrides: str) -> Command:
    token, number = uuid4().hex, len([*folder.glob("output*")])
    places = [f"tracking.uri=sqlite:///{folder}/mlflow.db", f"tracking.artifacts={folder}/artifacts"]
    runs = [f"hydra.run.dir={folder}/runs/{number}", f"hydra.sweep.dir={folder}/multiruns/{number}"]
    arguments = [str(ROOT / "src/train.py"), *overrides, *places, *runs, "tracking.checkpoint_seconds=0.5"]
    with (folder / f"output{number}").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env=os.environ | {TOKEN: token},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return Command(token, process)


def _has_come(moment: str, folder: Path) -> bool:
    if moment == CREATION:
        return any((folder / name).exists() for name in (".mlflow.db.new", "mlflow.db"))
    return any(folder.rglob("run.json"))


def _wait(command: Command, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition() and command.process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)


def _kill(command: Command, victim: str) -> bool:
    """Kill a process of a command, and return whether there was one."""
    if command.process.poll() is not None:
        return False
    if victim in {MAIN, GROUP}:
        (os.kill if victim == MAIN else os.killpg)(command.process.pid, signal.SIGKILL)
        return True
    _wait(command, lambda: bool(command.processes(IN_COMMAND[victim])))
    found = command.processes(IN_COMMAND[victim])
    for process in found[:1]:
        process.kill()
    return bool(found)


def _give_again(folder: Path, settings: tuple[str, ...], is_single: bool) -> list[int]:
    """Repeat a command and return its exit codes; a single run is resumed, or restarted if it cannot be resumed."""
    if not is_single:
        return [_start(folder, *settings).process.wait(PATIENCE)]
    if any(run.info.status == "FINISHED" for run in _runs(folder)):
        return []
    code = _start(folder, "resume=last").process.wait(PATIENCE)
    return [code, _start(folder, *settings).process.wait(PATIENCE)] if code else [code]


def _runs(folder: Path) -> list[Run]:
    if not (folder / "mlflow.db").exists():
        return []
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("gradclip")
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def _damage(folder: Path, processes: int, seeds: set[str]) -> Damage:
    runs, client = _runs(folder), MlflowClient(f"sqlite:///{folder}/mlflow.db")
    trained = Counter(run.data.tags[keys.SEED] for run in runs if _has_trained(run))
    lost, doubled = len(seeds - trained.keys()) * STEPS, sum(count - 1 for count in trained.values()) * STEPS
    for run in runs:
        steps = Counter(point.step for point in client.get_metric_history(run.info.run_id, keys.GRAD_NORM))
        doubled += steps.total() - len(steps)
        lost += len(set(range(1, STEPS + 1)) - steps.keys()) if _has_trained(run) else 0
    running = sum(run.info.status == "RUNNING" for run in runs)
    unsent = sum(path.read_text().count("\n") for path in folder.rglob(SPOOL_FILE))
    return Damage(processes, lost, doubled, running, unsent)


def _has_trained(run: Run) -> bool:
    return run.info.status == "FINISHED" and keys.SEED in run.data.tags
