"""Cost and correctness of gradclip on a GPU: Markdown tables, in at most eight minutes.

``python -m tests.benchmarks.gpu`` uses a CUDA device if there is one. ``--small`` runs small versions, also on a CPU.
Names of parts (``right``, ``monitor``, ``stacked``, ``multirun``) run only these parts. The exit code is 1 if a check
or a part fails.
"""

import argparse
import logging
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from itertools import chain, pairwise
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gradclip import ClipGradients, GradientMonitor
from gradclip.stacked.training import keep_freed_memory
from tests.benchmarks.gpu_checks import CHECKS, DEVICE, ON_GPU, fit, stacked_training
from tests.benchmarks.gradients import METHODS, clipper_of
from tests.benchmarks.jax_training import seconds_of_jax
from tests.benchmarks.vectorized import Commands

TOKENS, SEQUENCES = 1024, 8
FIRST_STEPS, STEPS = 4, 20  # steps of a turn before the measurement, and in it
MONITOR_TURNS = 5  # turns of each variant with the monitor, since equal turns differ by more than its limits allow
MONITOR, MONITOR_AND_NORM = "GradientMonitor", "GradientMonitor and ClipGradients: norm"
SECONDS = {"right": 50, "monitor": 150, "stacked": 90, "multirun": 105}  # at most, by part
Row = TypeVar("Row")


class Language(LightningModule):
    """A transformer that predicts the next token: of GPT-2's size, 124 million parameters, or a tiny one."""

    def __init__(self, small: bool) -> None:
        super().__init__()
        width, layers, self.words = (32, 2, 100) if small else (768, 12, 50_257)
        self.length, self.sequences = (16, 2) if small else (TOKENS, SEQUENCES)
        self.embed, self.position = nn.Embedding(self.words, width), nn.Embedding(self.length, width)
        layer = nn.TransformerEncoderLayer(width, width // 16 if small else 12, 4 * width, 0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.mask = nn.Transformer.generate_square_subsequent_mask(self.length)
        self.output = nn.Linear(width, self.words, bias=False)
        self.output.weight = self.embed.weight

    def training_step(self, batch: list[Tensor], batch_index: int) -> Tensor:
        tokens = batch[0]
        inputs = self.embed(tokens) + self.position.weight
        predicted = self.output(self.encoder(inputs, mask=self.mask.to(inputs.device), is_causal=True))
        return nn.functional.cross_entropy(predicted[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-5)

    def rows(self, steps: int) -> DataLoader[tuple[Tensor, ...]]:
        """Return ``steps`` batches of random tokens."""
        torch.manual_seed(0)
        tokens = torch.randint(0, self.words, (steps * self.sequences, self.length))
        return DataLoader(TensorDataset(tokens), batch_size=self.sequences)


def in_time(rows: Iterable[Row], seconds: float, growth: float = 1.0) -> Iterator[Row]:
    """Yield the rows of a table until the time is over, and print which rows are left out.

    Args:
        rows: what to measure, one after the other.
        seconds: time of the table.
        growth: how many times longer a row may take than the longest so far.
    """
    start, left, longest = time.perf_counter(), list(rows), 0.0
    while left and time.perf_counter() - start + growth * longest <= seconds:
        began = time.perf_counter()
        yield left.pop(0)
        longest = max(longest, time.perf_counter() - began)
    if left:
        print(f"\nLeft out, since the time of this part is over: {', '.join(map(str, left))}.", flush=True)


class Turns(Callback):
    """Callback that measures the steps of one training run in turns with different callbacks, which share a warm-up.

    Args:
        variants: callbacks and ``gradient_clip_val`` of each turn.

    Attributes:
        milliseconds: the mean time of a step in each turn, without its first steps, but with a flush of the monitor.
    """

    def __init__(self, variants: Sequence[tuple[list[Callback], float | None]]) -> None:
        self.variants, self.milliseconds = variants, list[float]()

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_index: int) -> None:
        turn, step = divmod(batch_index, FIRST_STEPS + STEPS)
        if step == 0:
            callbacks, trainer.gradient_clip_val = self.variants[turn]
            trainer.callbacks = [*callbacks, self]  # type: ignore[attr-defined]  # it measures what they took
            for callback in callbacks:  # Lightning calls them from its next hook on
                callback.setup(trainer, module, "fit")
                callback.on_fit_start(trainer, module)
                callback.on_train_start(trainer, module)
                callback.on_train_batch_start(trainer, module, batch, batch_index)
        if step == FIRST_STEPS:
            self._started = _now()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *arguments: object) -> None:
        if trainer.global_step % (FIRST_STEPS + STEPS) == 0:
            for callback in trainer.callbacks[:-1]:  # type: ignore[attr-defined]
                callback.teardown(trainer, module, "fit")
            trainer.callbacks = [self]  # type: ignore[attr-defined]
            self.milliseconds.append(1000 * (_now() - self._started) / STEPS)


def _now() -> float:
    """Return the time in seconds, after the device has finished its work."""
    if ON_GPU:
        torch.cuda.synchronize()
    return time.perf_counter()


def ratios(module: Language, names: Sequence[str], precision: str) -> tuple[float, list[float]]:
    """Return the milliseconds of a step with Lightning's clipping, and the ratio of each variant's step to it.

    Each turn of a variant is compared with the mean of the two turns with Lightning's clipping around it. A variant's
    ratio is the median of its turns.
    """
    order = [name for name in names for _ in range(MONITOR_TURNS if MONITOR in name else 1)]
    variants = [_plain(), *chain.from_iterable((_variant(name), _plain()) for name in order)]
    turns = Turns(variants)
    fit(module, module.rows(len(variants) * (FIRST_STEPS + STEPS)), [turns], precision=precision)
    plain, measured = turns.milliseconds[::2], turns.milliseconds[1::2]
    around = [(before + after) / 2 for before, after in pairwise(plain)]
    found = [(name, step / base) for name, step, base in zip(order, measured, around, strict=True)]
    return median(plain), [median(ratio for variant, ratio in found if variant == name) for name in names]


def _plain() -> tuple[list[Callback], float | None]:
    return [], 1.0


def _variant(name: str) -> tuple[list[Callback], float | None]:
    """Return the callbacks of a row of the table, and Lightning's threshold if they do not clip."""
    if name == MONITOR:
        return [GradientMonitor()], 1.0
    monitors: list[Callback] = [GradientMonitor()] if name == MONITOR_AND_NORM else []
    return [*monitors, ClipGradients(clipper_of("norm" if monitors else name))], None


def monitor_table(small: bool) -> None:
    """Print the ratio of a step with the monitor or a clipper to a step with Lightning's own clipping."""
    torch.set_float32_matmul_precision("high")  # TF32, which users of such GPUs choose
    module = Language(small)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    names, columns = [MONITOR, MONITOR_AND_NORM, *METHODS], {}
    for precision in in_time(("bf16-mixed", "16-mixed", "32-true") if ON_GPU else ("32-true",), SECONDS["monitor"]):
        columns[precision] = ratios(module, names, precision)
    print(f"| {parameters / 1e6:.1f} M parameters | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    print(f"| Lightning's clipping, ms a step | {' | '.join(f'{plain:.1f}' for plain, _ in columns.values())} |")
    for row, name in enumerate(names):
        cells = " | ".join(f"{found[row]:.2f}" for _, found in columns.values())
        print(f"| {name if row < 2 else f'ClipGradients: {name}'} | {cells} |", flush=True)


def stacked_table(small: bool) -> None:
    """Print the seconds of stacked training runs and of the same training runs in JAX."""
    keep_freed_memory()
    has_jax = find_spec("jax") is not None
    print(
        "| replicas | training, all telemetry, s | its results, s | JAX, the norms of each step, s |\n|---|---|---|---|"
    )
    for replicas in in_time((4, 8) if small else (400, 4000, 20_000), SECONDS["stacked"], growth=5.0):
        epochs = 2 if small else 100
        training = stacked_training(replicas, DEVICE, epochs)
        start = time.perf_counter()
        ended = list(training.run())
        trained = time.perf_counter()
        results = sum(1 for _ in chain.from_iterable(ended))  # results are computed one by one
        assert results == replicas
        taken = f"{trained - start:.2f} | {time.perf_counter() - trained:.2f}"
        jax = f"{seconds_of_jax(replicas, epochs):.2f}" if has_jax else "not installed"
        print(f"| {replicas:,} | {taken} | {jax} |", flush=True)


def multirun_table(small: bool) -> None:
    """Print the seconds of a tracked multirun, from a cold start."""
    settings, seeds, epochs = (2, 2, 1) if small else (200, 20, 100)
    with tempfile.TemporaryDirectory() as folder:
        commands = Commands(Path(folder), timeout=SECONDS["multirun"])
        options = ["trainer=gpu"] if ON_GPU else []
        taken = commands.vectorized(settings, seeds, *options, f"trainer.max_epochs={epochs}")
    print(f"| tracked runs | seconds | ms a run |\n|---|---|---|\n| {settings * seeds:,} | {taken:.1f} | ", end="")
    print(f"{1000 * taken / (settings * seeds):.0f} |", flush=True)


def check_table(_: bool) -> None:
    """Print what each check measured.

    Raises:
        AssertionError: a check failed or was left out.
    """
    failed = [*CHECKS]
    print("| item | seen |\n|---|---|")
    for name in in_time(CHECKS, SECONDS["right"]):
        try:
            seen = CHECKS[name]()
            failed.remove(name)
        except Exception as error:  # a check reports whatever fails on this device
            seen = f"FAILED: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        print(f"| {name} | {seen} |", flush=True)
    assert not failed, f"failed or left out: {', '.join(failed)}"


PARTS: dict[str, Callable[[bool], None]] = {
    "right": check_table,
    "monitor": monitor_table,
    "stacked": stacked_table,
    "multirun": multirun_table,
}


def main(arguments: list[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="tiny sizes, for a CPU")
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="all by default")
    options = parser.parse_args(arguments)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    name = torch.cuda.get_device_name() if ON_GPU else "a CPU: there is no GPU here"
    if not ON_GPU:
        torch.set_num_threads(1)  # several threads wait for each other on a busy machine
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # otherwise JAX takes most of the memory that torch needs
    print(f"On {name}, torch {torch.__version__}.")
    failed, start = False, time.perf_counter()
    for part in options.parts or PARTS:
        print()
        try:
            PARTS[part](options.small)
        except Exception:  # the other parts may work, and the device is lent for a short time
            failed = True
            traceback.print_exc()
    print(f"\n{time.perf_counter() - start:.0f} seconds.")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
