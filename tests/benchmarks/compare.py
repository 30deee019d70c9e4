"""Duration of a comparison by number of runs, from SQLite and from a server.

``python tests/benchmarks/compare.py [number of runs ...]`` prints a Markdown table. It measures the whole command with
figures, over runs of 100 epochs written with MLflow's own calls. The exit code is 1 if 1,000 runs take longer than 20
seconds.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import requests
from mlflow.entities import Metric, Param, RunTag

from gradclip import keys
from gradclip.program import PROJECT_ROOT
from gradclip.scores import MSE
from gradclip.tracking.backend.operations import Backend
from gradclip.tracking.records import Store

SIZES = (100, 300, 1000, 3000)
SEEDS = 20  # runs per group
EPOCHS = 100
SETTINGS = 50  # further parameters of each run, which do not matter here
LIMIT = 20.0  # seconds for 1,000 runs
PORT = 5987


def fill(store: Store, runs: int) -> None:
    """Write runs in groups with one threshold each."""
    generator, backend = np.random.default_rng(0), Backend(store)
    for index in range(runs):
        group, seed = divmod(index, SEEDS)
        threshold = 0.01 * 1.2**group
        curve = np.geomspace(1e4, 10 + group, EPOCHS) * generator.lognormal(0, 0.2, EPOCHS)
        run_id = backend.create_run(f"norm={threshold:.4g} seed={seed}", {}, None, None)
        points = [
            Metric(key, value, epoch, epoch)
            for key in (MSE.by_epoch("train"), MSE.by_epoch("test"))
            for epoch, value in enumerate(curve.tolist(), start=1)
        ]
        norms = (keys.GRAD_NORM_P50, keys.GRAD_NORM_P90, keys.GRAD_NORM_P99, keys.GRAD_NORM_MAX)
        last = {MSE.final("test"): curve[-1], keys.GRAD_CLIP_FRACTION: 0.5, "index": index} | dict.fromkeys(norms, 5.0)
        settings = {"clip.name": "norm", "clip.value": f"{threshold:.4g}", "seed": str(seed)}
        backend.client.log_batch(
            run_id,
            [*points, *(Metric(key, value, 0, 0) for key, value in last.items())],
            [Param(name, value) for name, value in settings.items()] + [Param(f"s.{i}", "0") for i in range(SETTINGS)],
            [RunTag(keys.OUTCOME, "learned"), RunTag(keys.CLIP, f"norm={threshold:.4g}")],
        )
        backend.end_run(run_id, "FINISHED")


class Measured(NamedTuple):
    """Cost of a command: wall time and CPU time in seconds, and the largest process so far in MiB."""

    wall: float
    cpu: float
    memory: float


def measure(store: Store, runs: int) -> Measured:
    """Run the comparison command, and return its cost."""
    command = [sys.executable, str(PROJECT_ROOT / "src/compare.py"), f"runs=metrics.index < {runs}"]
    folders = [f"tracking.artifacts={store.artifacts}", f"hydra.run.dir={store.artifacts}/comparison_{time.time_ns()}"]
    environment = os.environ | {"MLFLOW_TRACKING_URI": store.uri}
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*command, *folders], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"of {runs} runs" in done.stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(time.perf_counter() - start, cpu, after.ru_maxrss / 1024)


@contextmanager
def server(store: Store) -> Iterator[Store]:
    """Serve a store, and yield it with the address of the server."""
    addresses = ["--backend-store-uri", store.uri, "--artifacts-destination", store.artifacts, "--port", str(PORT)]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1", *addresses]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        uri = f"http://127.0.0.1:{PORT}"
        try:
            while not _answers(uri):
                time.sleep(0.2)
            yield store._replace(uri=uri)
        finally:
            process.terminate()


def _answers(uri: str) -> bool:
    try:
        return requests.get(f"{uri}/health", timeout=1).ok
    except requests.RequestException:
        return False


def main(sizes: list[int]) -> int:
    """Fill a store, measure the comparisons, and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        local = Store(f"sqlite:///{folder}/mlflow.db", str(Path(folder, "artifacts")), "gradclip")
        fill(local, max(sizes))
        from_sqlite = {size: measure(local, size) for size in sizes}
        with server(local) as remote:
            from_server = {size: measure(remote, size) for size in sizes}
    print("| runs of 100 epochs | SQLite, seconds | CPU time, seconds | server, seconds | largest process, MiB |")
    print("|---|---|---|---|---|")
    for size in sizes:
        one, other = from_sqlite[size], from_server[size]
        print(f"| {size:,} | {one.wall:.1f} | {one.cpu:.1f} | {other.wall:.1f} | {one.memory:.0f} |")
    limited = [measured[1000].wall for measured in (from_sqlite, from_server) if 1000 in measured]
    return int(any(value > LIMIT for value in limited))


if __name__ == "__main__":
    sys.exit(main([int(size) for size in sys.argv[1:]] or list(SIZES)))
