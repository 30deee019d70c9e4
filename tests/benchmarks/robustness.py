"""Data loss under failures: killed processes, server outages, concurrent writers, and invalid input.

``python -m tests.benchmarks.robustness`` prints a Markdown table. The exit code is 1 if anything was lost. Arguments
from ``resumed launched outages writers fuzz`` select parts.
"""

import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from mlflow import MlflowClient

from gradclip import keys
from gradclip.config.schema import TrainConfig
from gradclip.errors import GradclipError
from gradclip.tracking.records import Point, Store
from gradclip.tracking.run import TrackedRun
from gradclip.training.job import Job
from gradclip.training.pipeline import train
from tests.benchmarks.kills import Row, launched, resumed
from tests.support.fuzzing import attempt, fuzzed_line, malformed_files, table_overrides
from tests.support.mlflow_server import Server

LINES, WRITERS, OUTAGES = 200, 16, (1, 10, 60)
POINTS, PARAMETERS = 2500, 230  # numbers of each writer


def outages(folder: Path) -> Iterator[Row]:
    """Kill and restart the server while a run writes a point every 20 ms."""
    server = Server(folder)
    server.start()
    for seconds in OUTAGES:
        run = TrackedRun(
            Store(server.uri, "", "outages", retry_seconds=300.0), f"{seconds} s", {}, folder / str(seconds)
        ).begin()
        written = _write_for(1.0, run, 0)
        server.kill()
        written = _write_for(seconds, run, written)
        server.start()
        written = _write_for(1.0, run, written)
        run.end("FINISHED")
        history = MlflowClient(server.uri).get_metric_history(run.run_id, keys.LOSS_STEP)
        steps = [point.step for point in history]
        lost, doubled = len(set(range(1, written + 1)) - set(steps)), len(steps) - len(set(steps))
        yield f"points lost or doubled over an outage of {seconds} s, of {written:,}", str(lost + doubled)
    server.stop()


def _write_for(seconds: float, run: TrackedRun, written: int) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        written += 1
        run.write_points([Point(keys.LOSS_STEP, 1.0 / written, time.time_ns() // 1_000_000, written)])
        time.sleep(0.02)
    return written


def writers(folder: Path) -> Iterator[Row]:
    """Write from many processes to one store that does not exist yet."""
    store = Store(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"), "writers")
    with ProcessPoolExecutor(WRITERS, mp_context=get_context("spawn")) as pool:
        outcomes = list(pool.map(_write_one, [store] * WRITERS, range(WRITERS)))
    client = MlflowClient(store.uri)
    errors = [outcome for outcome in outcomes if len(outcome) != 32]
    lost = sum(
        POINTS - len(client.get_metric_history(run_id, "p")) + PARAMETERS - len(client.get_run(run_id).data.params)
        for run_id in outcomes
        if len(run_id) == 32
    )
    yield f"errors of {WRITERS} processes writing to one fresh store", str(len(errors))
    yield f"points and parameters lost, of {WRITERS * (POINTS + PARAMETERS):,}", str(lost)


def _write_one(store: Store, number: int) -> str:
    from gradclip.tracking.backend.database import STORE_ERRORS
    from gradclip.tracking.backend.operations import Backend

    backend = Backend(store)
    try:
        run_id = backend.create_run(f"run {number}", {}, None, None)
        backend.write_parameters(run_id, {f"parameter.{index}": str(number) for index in range(PARAMETERS)})
        backend.write_points(run_id, [Point("p", 1.0, 1, step) for step in range(POINTS)])
        backend.end_run(run_id, "FINISHED")
    except (*STORE_ERRORS, GradclipError) as error:
        return str(error)
    return run_id


def fuzz(folder: Path) -> Iterator[Row]:
    """Try random overrides and malformed files, and train one epoch with those that are accepted."""
    lines = [fuzzed_line(random.Random(seed)) for seed in range(LINES)]
    yield from _try_out(folder / "lines", "fuzzed override lines", lines)
    tables = []
    for what, content in malformed_files().items():
        path = folder / f"{what.replace(' ', '_')}.csv"
        path.write_bytes(content)
        tables.append(table_overrides(path, random.Random(what)))
    yield from _try_out(folder / "tables", "malformed data files", tables)


def _try_out(folder: Path, what: str, tries: list[list[str]]) -> Iterator[Row]:
    tracking = [f"tracking.uri=sqlite:///{folder}/mlflow.db", f"tracking.artifacts={folder}/artifacts"]
    bad = refused = 0
    for number, overrides in enumerate(tries):
        run_folder = folder / "runs" / str(number)
        run_folder.mkdir(parents=True)
        try:
            refused += bool(attempt(overrides, run_folder, tracking, _train_tracked))
        except Exception as error:
            print(f"{overrides}: {type(error).__name__}: {error}", file=sys.stderr)
            bad += 1
    trained = len(tries) - refused - bad
    yield f"tracebacks of {len(tries)} {what} ({refused} refused in one line, {trained} trained)", str(bad)
    runs = MlflowClient(f"sqlite:///{folder}/mlflow.db").search_runs(["1"])
    whole = sum(run.info.status == "FINISHED" and keys.OUTCOME in run.data.tags for run in runs)
    yield "incomplete runs that they left", str(abs(trained - whole) + len(runs) - whole)


def _train_tracked(config: TrainConfig, folder: Path) -> None:
    train(Job(config, (), folder))


def main() -> int:
    """Print the table."""
    parts = {"resumed": resumed, "launched": launched, "outages": outages, "writers": writers, "fuzz": fuzz}
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    print("| what goes wrong | here |\n|---|---|")
    anything = False
    for name in sys.argv[1:] or parts:
        with tempfile.TemporaryDirectory() as folder:
            for what, count in parts[name](Path(folder)):
                print(f"| {what} | {count} |", flush=True)
                anything |= count != "0"
    return int(anything)


if __name__ == "__main__":
    sys.exit(main())
