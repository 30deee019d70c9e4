"""Cost of storing one run, in SQLite and through a server.

``python tests/benchmarks/store.py`` prints a Markdown table with the CPU time of this process and of the server, which
hardly changes on a busy machine. ``docs/many-runs.md`` uses these numbers.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import psutil

from gradclip import keys
from gradclip.program import PROJECT_ROOT
from gradclip.sweep.replica_runs import RUNS_PER_TRANSACTION
from gradclip.tracking.calls import RunAddress
from gradclip.tracking.operations import Operations
from gradclip.tracking.records import Call, Point, RunEnd, RunStart, Store, now
from gradclip.tracking.stored_runs import Curve

sys.path.insert(0, str(PROJECT_ROOT))
from tests.support.mlflow_server import serve

ROUNDS = 7
PARAMETERS = {f"parameter_{number}": "0.01" for number in range(47)}
FEW, MANY = 816, 6000  # points of a run


def store_call_by_call(store: Store, count: int) -> None:
    """Store a run without its files, in the way training does."""
    from gradclip.tracking.backend.operations import backend_of

    backend = backend_of(store)
    points = [Point(f"curve_{number % 6}", 0.5, 1_700_000_000_000 + number, number // 6) for number in range(count)]
    run_id = backend.create_run("run", {"outcome": "learned"}, None, None)
    backend.write_parameters(run_id, PARAMETERS)
    backend.write_points(run_id, points)
    backend.write_summary(run_id, {"final/mse_test": 1.0}, {"seed": "0"}, 1_700_000_000_000)
    backend.end_run(run_id, "FINISHED")


def store_at_once(store: Store, count: int) -> None:
    """Store a run without its files, with all curves written at its end."""
    from gradclip.tracking.backend.batches import complete_runs
    from gradclip.tracking.backend.delivery import begin_run, deliver

    points = Curve(np.arange(count // 6), np.full(count // 6, 0.5))
    curves = {f"curve_{number}": points for number in range(6)}
    creation = uuid4().hex
    with tempfile.TemporaryDirectory() as folder:
        tags = {"seed": "0", keys.CREATION: creation}
        create = Call(store, Operations.create_run.__name__, creation, ("run", tags, None, now()), folder)
        begin_run(create)
        deliver(create._replace(operation=Operations.write_parameters.__name__, arguments=(PARAMETERS,)))
        end = RunEnd(curves, {"final/mse_test": 1.0}, {"outcome": "learned"}, now(), now())
        complete_runs([(RunAddress(store, creation, folder), end)])


def store_together(store: Store, count: int) -> None:
    """Store a batch of runs without their files, as many as the vectorized launcher writes together."""
    from gradclip.tracking.backend.batches import begin_runs, complete_runs

    points = Curve(np.arange(count // 6), np.full(count // 6, 0.5))
    curves = {f"curve_{number}": points for number in range(6)}
    with tempfile.TemporaryDirectory() as folder:
        starts, ends = [], []
        for number in range(RUNS_PER_TRANSACTION):
            creation = uuid4().hex
            arguments = ("run", {"seed": str(number), keys.CREATION: creation}, None, now())
            create = Call(store, Operations.create_run.__name__, creation, arguments, f"{folder}/{number}")
            described: dict[Any, tuple[Any, ...]] = {
                Operations.write_text: ("", keys.CONFIG_FILE),
                Operations.write_parameters: (PARAMETERS,),
                Operations.write_datasets: ([],),
            }
            writes = [create._replace(operation=one.__name__, arguments=some) for one, some in described.items()]
            starts.append(RunStart(create, *writes))
            end = RunEnd(curves, {"final/mse_test": 1.0}, {"outcome": "learned"}, now(), now() + number)
            ends.append((RunAddress(store, creation, create.folder), end))
        begin_runs(starts, repeated=False)
        complete_runs(ends)


def processor_seconds() -> float:
    """Return the CPU time of this process and its child processes."""
    children = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return time.process_time() + sum(float(times.user + times.system) for times in children)


def cost_of_run(store_run: Callable[[], None]) -> float:
    """Return the CPU seconds of storing one run, the minimum of several rounds."""
    costs = []
    for _ in range(ROUNDS):
        start = processor_seconds()
        store_run()
        costs.append(processor_seconds() - start)
    return min(costs)


def rows() -> Iterator[tuple[str, float, float]]:
    """Yield the name of each kind of store, the CPU seconds per run, and the further points per CPU second."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/mlflow.db", f"{folder}/artifacts", "gradclip")
        yield ("SQLite", *measure(partial(store_call_by_call, store)))
        yield ("SQLite, the end at once", *measure(partial(store_at_once, store)))
        run, rate = measure(partial(store_together, store))
        name = f"SQLite, {RUNS_PER_TRANSACTION} runs together, as `vectorized` does it"
        yield name, run / RUNS_PER_TRANSACTION, rate * RUNS_PER_TRANSACTION
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as address:
        yield ("server, with its client", *measure(partial(store_call_by_call, Store(address, "", "gradclip"))))


def measure(store_run: Callable[[int], None]) -> tuple[float, float]:
    """Return the CPU seconds per run, and the further points per CPU second."""
    store_run(FEW)
    few, many = cost_of_run(partial(store_run, FEW)), cost_of_run(partial(store_run, MANY))
    return few, (MANY - FEW) / (many - few)


def main() -> int:
    """Measure, and print the table."""
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    what = f"a run of {len(PARAMETERS)} parameters and {FEW} points"
    print(f"| {what} | CPU time, ms | further points per CPU second |")
    print("|---|---|---|")
    for name, run, rate in rows():
        print(f"| {name} | {1000 * run:.0f} | {rate:,.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
