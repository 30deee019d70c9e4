"""Cost of tracking and telemetry, as ratios measured side by side.

``python tests/benchmarks/speed.py`` prints a Markdown table. All quantities are measured in turn, several times, and
their medians are compared, so that a busy machine slows both sides of a ratio.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from hydra import compose, initialize_config_dir

from gradclip.config.paths import CONFIG_FOLDER, register_resolvers
from gradclip.config.schema import TrainConfig
from gradclip.config.validation import validate
from gradclip.program import PROJECT_ROOT

ROUNDS = 5
MAIN_JOB = ("clip=norm", "clip.value=1.0")
LIBRARIES = (
    "hydra, pytorch_lightning, mlflow, pandas, pyarrow.parquet, sklearn.datasets, matplotlib.figure, torchmetrics"
)
PLAIN_LOOP = """
import time, torch
from sklearn.datasets import make_regression
torch.manual_seed(0)
table = make_regression(1000, 20, noise=0.1, random_state=1)
inputs, target = (torch.tensor(part[:500], dtype=torch.float32) for part in table)
network = torch.nn.Sequential(torch.nn.Linear(20, 25), torch.nn.ReLU(), torch.nn.Linear(25, 1))
optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
start = time.perf_counter()
for epoch in range(100):
    for rows in torch.randperm(500).split(32):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(network(inputs[rows]).squeeze(1), target[rows]).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
print(time.perf_counter() - start)
"""


def seconds(work: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(works: dict[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, float]:
    """Return medians of several measurements, taken in turn after a discarded first round."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            times[name].append(work())
    return {name: median(taken[1:]) for name, taken in times.items()}


def python(*arguments: str, uri: str = "") -> str:
    """Run Python in a new process, and return its output."""
    environment = os.environ | ({"MLFLOW_TRACKING_URI": uri} if uri else {})
    return subprocess.run(
        [sys.executable, *arguments], cwd=PROJECT_ROOT, env=environment, check=True, capture_output=True, text=True
    ).stdout


def compose_main_job(uri: str, folder: str, *overrides: str) -> TrainConfig:
    """Return the config of the main job with its own store and further overrides."""
    register_resolvers()
    options = [f"tracking.uri={uri}", f"tracking.artifacts={folder}/artifacts", "trainer.progress_bar=false"]
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return validate(compose("train", [*MAIN_JOB, *options, *overrides]))


def fits(config: TrainConfig, folder: str) -> dict[str, Callable[[], float]]:
    """Return measurements of the fit as the command does it, with all points stored, and without logger and telemetry.

    Args:
        config: config of the run.
        folder: folder of the run.
    """
    from gradclip.tracking.logger import RunLogger
    from gradclip.training.components import build_components
    from gradclip.training.job import Job
    from gradclip.training.pipeline import open_run

    job = Job(config, (), Path(folder))

    def bare() -> float:
        parts = build_components(config, job.folder)
        parts.trainer.callbacks.remove(parts.monitor)  # type: ignore[attr-defined]
        return seconds(lambda: parts.trainer.fit(parts.module, parts.data))

    def tracked() -> float:
        parts = build_components(config, job.folder)
        run = open_run(job, parts)
        run.wait()
        parts.trainer.loggers = [RunLogger(run)]

        def fit() -> None:
            parts.trainer.fit(parts.module, parts.data)
            run.wait()

        taken = seconds(fit)
        run.end("FINISHED")
        return taken

    return {"bare": bare, "tracked": tracked}


def commands(uri: str, folder: str) -> dict[str, Callable[[], float]]:
    """Return measurements of the whole main job, and of the parts that cannot be avoided: imports and the loop."""
    places = (f"tracking.artifacts={folder}/artifacts", f"hydra.run.dir={folder}/runs/${{now:%H-%M-%S-%f}}")
    return {
        "command": lambda: seconds(lambda: python("src/train.py", *MAIN_JOB, *places, uri=uri)),
        "imports": lambda: seconds(lambda: python("-c", f"import {LIBRARIES}")),
        "loop": lambda: float(python("-c", PLAIN_LOOP)),
    }


def answers() -> dict[str, Callable[[], float]]:
    """Return measurements of interactive responses, which must be fast."""

    def timed(*arguments: str, **environment: str) -> Callable[[], float]:
        settings = os.environ | environment
        command = [sys.executable, "src/train.py", *arguments]
        return lambda: seconds(
            lambda: subprocess.run(command, cwd=PROJECT_ROOT, env=settings, check=False, capture_output=True)
        )

    return {
        "a wrong override": timed("clip=nrm"),
        "`--help`": timed("--help"),
        "shell completion": timed("-sc", "query=bash", COMP_LINE="train.py clip=", COMP_POINT="14"),
    }


def main() -> int:
    """Measure everything, and print the table; the exit code is 1 if a limit is exceeded."""
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        fit = in_turn(fits(compose_main_job(uri, folder), folder))
        whole = in_turn(commands(uri, folder))
    rows = [
        ("tracked fit, every step's norms stored / bare Lightning fit", fit["tracked"] / fit["bare"], 1.25),
        ("whole command / imports + plain torch loop", whole["command"] / (whole["imports"] + whole["loop"]), 1.6),
        *((f"{name}, seconds", taken, 1.0) for name, taken in in_turn(answers()).items()),
    ]
    print("| measured | here | limit |\n|---|---|---|")
    for name, measured, limit in rows:
        print(f"| {name} | {measured:.2f} | {limit:g} |")
    taken = {f"{name} fit": value for name, value in fit.items()} | whole
    print("\nSeconds:", ", ".join(f"{name} {value:.1f}" for name, value in taken.items()))
    return int(any(measured > limit for _, measured, limit in rows))


if __name__ == "__main__":
    sys.exit(main())
