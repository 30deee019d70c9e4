"""Cost of a training step of recurrent networks, as ratios measured side by side.

``python tests/benchmarks/recurrent_speed.py`` prints a Markdown table. The exit code is 1 if a limit is exceeded.
"""

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from reference import configure
from torch import nn

from gradclip import RNN
from gradclip.data.tasks import TASKS
from gradclip.training.components import Components, build_components

LENGTH, HIDDEN, BATCH, STEPS, ROUNDS = 150, 50, 64, 800, 9
SETTINGS = (
    "data=temporal_order",
    f"data.length={LENGTH}",
    f"data.steps_per_epoch={STEPS}",
    "data.validation_sequences=0",
    "data.test_sequences=100",
    f"model.hidden_size={HIDDEN}",
    f"trainer.batch_size={BATCH}",
    "trainer.max_epochs=1",
    "clip=norm",
)


def pipeline_step() -> float:
    """Return the seconds per step of the pipeline with clipping, both monitors and fresh sequences."""
    with tempfile.TemporaryDirectory() as folder:
        parts: Components = build_components(configure(SETTINGS), Path(folder))
        parts.trainer.limit_val_batches = 0
        start = time.perf_counter()
        parts.trainer.fit(parts.module, parts.data)
        return (time.perf_counter() - start) / STEPS


def plain_step() -> float:
    """Return the seconds per step of a plain loop with the same network, sequences, loss, clipping and optimizer."""
    task, network, loss = TASKS["temporal_order"](LENGTH), RNN(6, 4, hidden_size=HIDDEN), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    generator = np.random.default_rng(0)
    start = time.perf_counter()
    for _ in range(STEPS):
        inputs, target = map(torch.from_numpy, task.draw(generator, BATCH))
        optimizer.zero_grad()
        loss(network(inputs), target).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    return (time.perf_counter() - start) / STEPS


def drawing(name: str) -> float:
    """Return the seconds that generating one batch of a task takes."""
    task = TASKS[name](LENGTH)
    times = []
    for number in range(50):
        start = time.perf_counter()
        task.draw(np.random.default_rng([0, 0, 0, number]), BATCH)
        times.append(time.perf_counter() - start)
    return median(times)


def main() -> int:
    """Print the table."""
    torch.set_num_threads(1)
    pairs = [(pipeline_step(), plain_step()) for _ in range(ROUNDS)]
    ratio = median(ours / theirs for ours, theirs in pairs)
    step = median(theirs for _, theirs in pairs)
    rows = [("training step of the pipeline / plain torch loop", ratio, 1.15)]
    rows += [(f"making a batch of `{name}` / a training step", drawing(name) / step, 0.05) for name in TASKS]
    print("| measured | here | limit |\n|---|---|---|")
    for what, value, limit in rows:
        print(f"| {what} | {value:.3f} | {limit} |")
    return int(any(value > limit for _, value, limit in rows))


if __name__ == "__main__":
    sys.exit(main())
