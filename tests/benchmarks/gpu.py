"""What gradclip costs on a GPU, and whether it is right there: tables in Markdown, in at most eight minutes.

``python -m tests.benchmarks.gpu`` takes a CUDA device where there is one. ``--small`` runs the same in little, on a CPU
too. Names of parts (``right``, ``monitor``, ``stacked``, ``multirun``) run these only. Exit code 1 if a check fails.
"""

import argparse
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gradclip import ClipGradients, GradientMonitor, Norm
from gradclip.clipping.build import make_clipper
from gradclip.errors import GradclipError
from gradclip.norms import global_norm
from gradclip.stacked.replicas import make_replicas
from gradclip.stacked.training import StackedTraining, keep_freed_memory
from gradclip.telemetry.record import GradientRecord
from tests.benchmarks.gradients import METHODS, QUIET, Steps
from tests.benchmarks.jax_training import seconds_of_jax
from tests.benchmarks.speed import compose_main_job, seconds
from tests.benchmarks.vectorized import Commands

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ON_GPU = DEVICE.type == "cuda"
TOKENS, SEQUENCES = 1024, 8
STEPS = 14  # of a fit, of which the first four are not counted
SEEDS = 20
Check = Callable[[], str]  # says what was seen; an AssertionError where it is wrong


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
        """So many batches of random tokens."""
        torch.manual_seed(0)
        tokens = torch.randint(0, self.words, (steps * self.sequences, self.length))
        return DataLoader(TensorDataset(tokens), batch_size=self.sequences)


def fit(module: LightningModule, rows: Any, callbacks: list[Callback], **settings: Any) -> None:
    """Fit for one epoch on the device."""
    options = {**QUIET, "accelerator": DEVICE.type, "max_epochs": 1, **settings}
    Trainer(**options, callbacks=callbacks).fit(module, rows)


def step_milliseconds(module: Language, callbacks: list[Callback], **settings: Any) -> float:
    """Milliseconds of a step, the median."""
    clock = Steps()
    fit(module, module.rows(STEPS), [*callbacks, clock], **settings)
    return 1000 * median(clock.times[4:])


def monitor_table(small: bool) -> None:
    """Print what the monitor and each clipper cost a step, over a step with Lightning's own clipping."""
    module = Language(small)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    precisions = ("bf16-mixed", "16-mixed", "32-true") if ON_GPU else ("bf16-mixed", "32-true")
    print(f"| {parameters / 1e6:.1f} M parameters | {' | '.join(precisions)} |\n|---|{'---|' * len(precisions)}")
    variants: dict[str, tuple[bool, dict[str, Any] | None]] = {  # whether it monitors, and the clipper's settings
        "with GradientMonitor": (True, None),
        "with GradientMonitor and ClipGradients: norm": (True, {"name": "norm", "value": 1.0}),
        **{f"with ClipGradients: {name}": (False, {"name": name, **values}) for name, values in METHODS.items()},
    }
    plain = [step_milliseconds(module, [], precision=precision, gradient_clip_val=1.0) for precision in precisions]
    print(f"| Lightning's clipping, ms a step | {' | '.join(f'{taken:.1f}' for taken in plain)} |", flush=True)
    for name, (monitors, clip) in variants.items():
        times = []
        for precision in precisions:
            callbacks: list[Callback] = [GradientMonitor()] if monitors else []
            callbacks += [] if clip is None else [ClipGradients(make_clipper(**clip))]
            by_lightning = {"gradient_clip_val": 1.0} if clip is None else {}
            times.append(step_milliseconds(module, callbacks, precision=precision, **by_lightning))
        ratios = " | ".join(f"{taken / base:.2f}" for taken, base in zip(times, plain, strict=True))
        print(f"| {name} | {ratios} |", flush=True)


def stacked_training(replicas: int, device: torch.device, epochs: int = 100) -> StackedTraining:
    """The tutorial's training of so many replicas: thresholds and seeds."""
    base = compose_main_job("sqlite:///unused.db", "unused")
    base = base.model_copy(update={"trainer": base.trainer.model_copy(update={"max_epochs": epochs})})
    seeds = min(SEEDS, replicas)
    configs = [
        base.model_copy(update={"seed": seed, "clip": base.clip.model_copy(update={"value": 0.5 * (1 + number)})})
        for number in range(replicas // seeds)
        for seed in range(seeds)
    ]
    return StackedTraining(make_replicas(configs), device)


def stacked_table(small: bool) -> None:
    """Print the seconds of stacked trainings, and those of a JAX program beside them."""
    keep_freed_memory()
    has_jax = find_spec("jax") is not None
    print("| replicas | training, all telemetry, s | JAX, the norms of each step, s |\n|---|---|---|")
    for replicas in (4, 8) if small else (400, 4000, 20_000):
        epochs = 2 if small else 100
        training = stacked_training(replicas, DEVICE, epochs)
        taken = seconds(lambda training=training: list(chain.from_iterable(training.run())))  # type: ignore[misc]
        jax = f"{seconds_of_jax(replicas, epochs):.2f}" if has_jax else "not installed"
        print(f"| {replicas:,} | {taken:.2f} | {jax} |", flush=True)


def multirun_table(small: bool) -> None:
    """Print the seconds of a tracked multirun, from a cold start."""
    settings, seeds, epochs = (2, 2, 1) if small else (200, 20, 100)
    with tempfile.TemporaryDirectory() as folder:
        commands = Commands(Path(folder))
        options = [f"trainer.max_epochs={epochs}", *(["trainer=gpu"] if ON_GPU else [])]
        taken = commands.vectorized(settings, seeds, *options)
    print(f"| tracked runs | seconds | ms a run |\n|---|---|---|\n| {settings * seeds:,} | {taken:.1f} | ", end="")
    print(f"{1000 * taken / (settings * seeds):.0f} |", flush=True)


def check_clippers() -> str:
    """Each clipper reports on the gradients' device."""
    gradients = {"weight": torch.ones(3, 2, device=DEVICE), "bias": torch.ones(2, device=DEVICE)}
    for name, settings in METHODS.items():
        clipper = make_clipper(name, **settings)
        clipped, _, report = clipper(gradients, gradients, clipper.init(gradients))
        assert {tensor.device.type for tensor in (*clipped.values(), *report)} == {DEVICE.type}, name
    return f"{len(METHODS)} methods report on {DEVICE.type}"


def check_stacked() -> str:
    """Stacked replicas have on the device the norms that they have on a CPU."""
    results = [
        dict(chain.from_iterable(stacked_training(4, device, 2).run())) for device in (DEVICE, torch.device("cpu"))
    ]
    for number, result in results[0].items():
        here, there = (torch.from_numpy(one.record.norm[:30]) for one in (result, results[1][number]))
        torch.testing.assert_close(here, there, rtol=1e-2, atol=1e-3)
    return "the norms of 30 steps are those of a CPU"


def check_fused() -> str:
    """Gradients that a fused optimizer unscales are clipped at their own scale, or refused."""
    if not ON_GPU:
        return "needs a GPU"
    moved = []
    for fused in (False, True):
        module, rows = _linear(fused)
        before = module.network.weight.detach().clone()
        try:
            fit(module, rows, [ClipGradients(Norm(0.1))], precision="16-mixed")
        except GradclipError as refusal:
            return f"refused: {refusal}"
        moved.append((module.network.weight.detach().cpu() - before.cpu()).norm())
    torch.testing.assert_close(moved[0], moved[1], rtol=0.05, atol=0.0)
    return "a fused optimizer moves as another"


def check_loss_scale() -> str:
    """Updates that the loss scaler leaves out are recorded as skipped."""
    if not ON_GPU:
        return "needs a GPU"
    record = _record(precision="16-mixed", target=1e4)
    left_out = ~torch.from_numpy(record.norm).isfinite()
    assert left_out.any(), "no update was left out"
    assert torch.equal(torch.from_numpy(record.skipped), left_out), "an update that was left out is not skipped"
    return f"{int(left_out.sum())} updates were skipped"


def check_process_group() -> str:
    """The monitor works with a process group of the device."""
    if not ON_GPU:
        return "needs a GPU"
    return f"{len(_record(strategy='ddp').step)} steps recorded with strategy=ddp"


def check_long_sums() -> str:
    """The norm of ten million elements is right."""
    norm = float(global_norm([torch.full((10_000_000,), 0.1, device=DEVICE)]))
    assert abs(norm / (0.1 * 10_000_000**0.5) - 1) < 1e-5, norm
    return f"{norm:.4f}"


def check_compiled() -> str:
    """A compiled module has the record of the module itself, to float tolerance."""
    if not ON_GPU:
        return "needs a GPU"  # on a CPU it needs a compiler
    plain, compiled = _record(), _record(compiled=True)
    torch.testing.assert_close(torch.from_numpy(plain.norm), torch.from_numpy(compiled.norm), rtol=1e-3, atol=1e-6)
    return f"{len(plain.step)} steps"


CHECKS: dict[str, Check] = {
    "1: reports of the clippers": check_clippers,
    "1: stacked training": check_stacked,
    "2: fused optimizer and loss scale": check_fused,
    "3: updates that the loss scaler leaves out": check_loss_scale,
    "4: process group of the device": check_process_group,
    "5: norms of many elements": check_long_sums,
    "6: torch.compile": check_compiled,
}


class Line(LightningModule):
    """A linear network, trained by SGD."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.network, self.fused = nn.Linear(10, 1), fused

    def training_step(self, batch: list[Tensor], batch_index: int) -> Tensor:
        return nn.functional.mse_loss(self.network(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3, fused=self.fused)


def _linear(fused: bool = False, target: float = 1.0) -> tuple[Line, DataLoader[tuple[Tensor, ...]]]:
    torch.manual_seed(0)
    rows = TensorDataset(torch.randn(80, 10), target * torch.randn(80, 1))
    return Line(fused), DataLoader(rows, batch_size=8)


def _record(target: float = 1.0, compiled: bool = False, **settings: Any) -> GradientRecord:
    module, rows = _linear(target=target)
    monitor = GradientMonitor()
    if compiled:
        module.network.compile()
    fit(module, rows, [monitor], **settings)
    return monitor.record


def check_table(_: bool) -> bool:
    """Print what each check saw; return whether one failed."""
    failed = False
    print("| item | seen |\n|---|---|")
    for name, check in CHECKS.items():
        try:
            seen = check()
        except Exception as error:  # whatever goes wrong on this device is what is asked
            failed, seen = True, f"FAILED: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        print(f"| {name} | {seen} |", flush=True)
    return failed


PARTS: dict[str, Callable[[bool], bool | None]] = {
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
        torch.set_num_threads(1)  # more of them wait for one another on a busy machine
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # else JAX takes most of the memory that torch needs
    print(f"On {name}, torch {torch.__version__}.")
    failed, start = False, time.perf_counter()
    for part in options.parts or PARTS:
        print()
        failed |= bool(PARTS[part](options.small))
    print(f"\n{time.perf_counter() - start:.0f} seconds.")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
