"""What watching and clipping gradients costs, as ratios measured side by side.

``python tests/benchmarks/gradients.py`` prints tables in Markdown; exit code 1 if a limit is passed.
"""

import logging
import sys
import time
import warnings
from collections.abc import Callable
from statistics import median, quantiles
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gradclip import MLP, ClipGradients, GradientMonitor, Regressor, TabularData
from gradclip.clipping.base import Clipper
from gradclip.clipping.build import make_clipper
from gradclip.data.sources import regression

QUIET = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "limit_val_batches": 0,
    "accelerator": "auto",
    "devices": 1,
}
METHODS: dict[str, dict[str, Any]] = {
    "norm": {"value": 1.0},
    "value": {"value": 5.0},
    "norm_value": {"norm": 5.0, "value": 1.0},
    "parameter_norm": {"value": 1.0},
    "normalize": {"value": 1.0},
    "adaptive": {"value": 0.01},
    "auto": {"value": 10.0},
    "zscore": {"value": 2.5},
    "parameter_ema": {"value": 1.05},
    "skip": {"value": None},
}


class Transformer(LightningModule):
    """About ten million parameters, trained to copy; a batch has 2,048 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(500, 384)
        layer = nn.TransformerEncoderLayer(384, 6, 1152, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 7, enable_nested_tensor=False)
        self.output = nn.Linear(384, 500)

    def training_step(self, batch: list[Tensor], batch_index: int) -> Tensor:
        predicted = self.output(self.encoder(self.embed(batch[0])))
        return nn.functional.cross_entropy(predicted.flatten(0, 1), batch[0].flatten())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


class Steps(Callback):
    """The seconds between the ends of batches."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_start(self, *arguments: object) -> None:
        self.started = time.perf_counter()

    def on_train_batch_end(self, *arguments: object) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(time.perf_counter() - self.started)


def small_step(monitored: bool) -> float:
    """Seconds a step of the tutorial's network, 30 epochs of it."""
    torch.manual_seed(0)
    callbacks = [GradientMonitor()] if monitored else []
    trainer = Trainer(**QUIET, max_epochs=30, callbacks=callbacks, gradient_clip_val=1.0)  # type: ignore[arg-type]
    data = TabularData(regression())
    start = time.perf_counter()
    trainer.fit(Regressor(MLP(20)), data)
    return (time.perf_counter() - start) / trainer.global_step


def large_steps(steps: int = 20) -> tuple[float, float]:
    """Seconds a step, lower quartile, without and with the monitor, which is switched on for every other step."""
    monitor, clock = Alternating(updates_every=5), Steps()
    rows = DataLoader(TensorDataset(torch.randint(0, 500, (16 * steps * 2, 128))), batch_size=16)
    trainer = Trainer(**QUIET, max_epochs=1, callbacks=[clock, monitor], gradient_clip_val=1.0)  # type: ignore[arg-type]
    trainer.callbacks = [monitor, clock]  # type: ignore[attr-defined]  # the clock sees the monitor's work
    trainer.fit(Transformer(), rows)
    return quantiles(clock.times[2::2])[0], quantiles(clock.times[3::2])[0]


class Alternating(GradientMonitor):
    """A monitor that looks at every other step only, and at the weights' change in every fifth of these."""

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: object) -> None:
        if trainer.global_step % 2:
            super().on_before_optimizer_step(trainer, pl_module, optimizer)  # type: ignore[arg-type]


def ratio_of(ours: Callable[[], object], theirs: Callable[[], object], calls: int) -> float:
    """Time of one over the other, in turns; median over seven rounds, a first one not counted."""
    ratios = [seconds_of(ours, calls) / seconds_of(theirs, calls) for _ in range(8)]
    return median(ratios[1:])


def seconds_of(work: Callable[[], object], calls: int) -> float:
    """Seconds that so many calls take."""
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return time.perf_counter() - start


def draw_gradients(network: nn.Module) -> None:
    """Give all parameters new gradients."""
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)


def clip_in_place(clipper: Clipper, network: nn.Module) -> Callable[[], None]:
    """What the callback does at each step, for a Trainer's callback without the Trainer."""
    callback, module = ClipGradients(clipper), Regressor(network)
    trainer = Trainer(**QUIET)  # type: ignore[arg-type]
    callback.on_train_start(trainer, module)
    optimizer = torch.optim.SGD(network.parameters())
    return lambda: callback.on_before_optimizer_step(trainer, module, optimizer)


def clipper_table(network: nn.Module, calls: int) -> dict[str, float]:
    """Time of each method over that of torch's norm clipping, on the same gradients."""
    parameters, ratios = list(network.parameters()), {}
    for name, settings in METHODS.items():
        draw_gradients(network)
        ours = clip_in_place(make_clipper(name, **settings), network)
        ratios[name] = ratio_of(ours, lambda: nn.utils.clip_grad_norm_(parameters, 1.0), calls)
    return ratios


def main() -> int:
    """Measure all and print the tables."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    pairs = [(small_step(False), small_step(True)) for _ in range(8)]
    small = min(on for _, on in pairs) / min(off for off, _ in pairs)  # the least disturbed of each
    off, on = large_steps()
    rows = [("the tutorial's network", small, 1.15), ("a transformer of 10 million parameters", on / off, 1.03)]
    print("| gradient monitor on / off | here | limit |\n|---|---|---|")
    print("\n".join(f"| {name} | {ratio:.3f} | {limit:g} |" for name, ratio, limit in rows))
    tables = [clipper_table(MLP(20), 300), clipper_table(Transformer(), 5)]
    print("\n| method / torch's clip_grad_norm_ | tutorial's network | 10 million parameters |\n|---|---|---|")
    print("\n".join(f"| {name} | {tables[0][name]:.2f} | {tables[1][name]:.2f} |" for name in METHODS))
    rows += [("norm", table["norm"], 1.2) for table in tables]
    return int(any(ratio > limit for _, ratio, limit in rows))


if __name__ == "__main__":
    sys.exit(main())
