"""Cost of watching and clipping gradients, as ratios measured side by side.

``python tests/benchmarks/gradients.py`` prints Markdown tables; the arguments ``monitor`` and ``clippers`` select one.
The exit code is 1 if a limit is exceeded. Times are CPU times of this process, so that other processes matter less.
"""

import logging
import sys
import time
import warnings
from collections.abc import Callable
from math import inf
from statistics import median
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
    "accelerator": "cpu",
    "devices": 1,
}
MONITOR_LIMIT = 1.1
CALLS = {  # calls of a clipper per round
    "LSTM of 216,000": 40,
    "transformer of 10 million, 512 tokens": 2,
    "2,000 tensors of 1,000": 2,
}
TURN = 10  # steps; one of them measures the change of the weights if there are more than a million parameters
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
    "norm, order 1": {"value": 1.0, "order": 1.0},
    "norm, order inf": {"value": 1.0, "order": inf},
    "norm, scheduled": {"value": 1.0, "schedule": {"end": 2.0, "steps": 100}},
    "norm, by groups": {"method": "norm", "value": 1.0, "groups": [{"parameters": "*s*", "value": 2.0}]},
}


class Benchmark(LightningModule):
    """Base class of networks whose step is one forward pass, one backward pass and one optimizer update."""

    def training_step(self, batch: list[Tensor], batch_index: int) -> Tensor:
        return self.loss(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-4)

    def loss(self, tokens: Tensor) -> Tensor:
        raise NotImplementedError


class Transformer(Benchmark):
    """A transformer of about ten million parameters that is trained to copy."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(500, 384)
        layer = nn.TransformerEncoderLayer(384, 6, 1152, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 7, enable_nested_tensor=False)
        self.output = nn.Linear(384, 500)

    def loss(self, tokens: Tensor) -> Tensor:
        predicted = self.output(self.encoder(self.embed(tokens)))
        return nn.functional.cross_entropy(predicted.flatten(0, 1), tokens.flatten())


class Recurrent(Benchmark):
    """An LSTM of 216,000 parameters that is trained to copy."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(500, 64)
        self.recurrent = nn.LSTM(64, 128, 1, batch_first=True)
        self.output = nn.Linear(128, 500)

    def loss(self, tokens: Tensor) -> Tensor:
        predicted = self.output(self.recurrent(self.embed(tokens))[0])
        return nn.functional.cross_entropy(predicted.flatten(0, 1), tokens.flatten())


class Vectors(Benchmark):
    """Plain tensors whose sum of squares is the loss, so that a step costs hardly more than reading them."""

    def __init__(self, count: int, size: int) -> None:
        super().__init__()
        self.tensors = nn.ParameterList(torch.randn(size) for _ in range(count))

    def loss(self, tokens: Tensor) -> Tensor:
        return torch.stack([tensor.square().sum() for tensor in self.tensors]).sum()


class Steps(Callback):
    """Callback that measures the CPU seconds of each batch."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_start(self, *arguments: object) -> None:
        self.started = time.process_time()

    def on_train_batch_end(self, *arguments: object) -> None:
        self.times.append(time.process_time() - self.started)


def small_step(monitored: bool) -> float:
    """Return the CPU seconds per step of the tutorial's network, over 30 epochs."""
    torch.manual_seed(0)
    callbacks = [GradientMonitor()] if monitored else []
    trainer = Trainer(**QUIET, max_epochs=30, callbacks=callbacks, gradient_clip_val=1.0)  # type: ignore[arg-type]
    data = TabularData(regression())
    start = time.process_time()
    trainer.fit(Regressor(MLP(20)), data)
    return (time.process_time() - start) / trainer.global_step


def monitor_ratio(network: Benchmark, pairs: int = 6) -> float:
    """Return the time of steps with the monitor divided by that of steps without: the median over pairs of turns."""
    monitor, clock = Alternating(), Steps()
    rows = DataLoader(TensorDataset(torch.randint(0, 500, (4 * TURN * 2 * (pairs + 1), 128))), batch_size=4)
    trainer = Trainer(**QUIET, max_epochs=1, callbacks=[clock, monitor], gradient_clip_val=1.0)  # type: ignore[arg-type]
    trainer.callbacks = [monitor, clock]  # type: ignore[attr-defined]  # the clock sees the monitor's work
    trainer.fit(network, rows)
    turns = [sum(clock.times[start : start + TURN]) for start in range(0, len(clock.times), TURN)]
    return median(on / off for off, on in zip(turns[2::2], turns[3::2], strict=True))


class Alternating(GradientMonitor):
    """A monitor that is on in every other turn of ten steps."""

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: object) -> None:
        if trainer.global_step // TURN % 2:
            super().on_before_optimizer_step(trainer, pl_module, optimizer)  # type: ignore[arg-type]

    def on_train_batch_end(self, trainer: Trainer, *arguments: Any) -> None:
        if (trainer.global_step - 1) // TURN % 2:
            super().on_train_batch_end(trainer, *arguments)


def ratio_of(ours: Callable[[], object], theirs: Callable[[], object], network: nn.Module, calls: int) -> float:
    """Return the time of one call divided by that of another on the same gradients, each the fastest of twelve rounds.

    Args:
        ours: clips the gradients.
        theirs: clips them in torch's way.
        network: network whose gradients are clipped.
        calls: number of calls per round.
    """
    drawn = [torch.randn_like(parameter) for parameter in network.parameters()]
    pairs = [(seconds_of(ours, network, drawn, calls), seconds_of(theirs, network, drawn, calls)) for _ in range(12)]
    return min(own for own, _ in pairs) / min(other for _, other in pairs)


def seconds_of(clip: Callable[[], object], network: nn.Module, drawn: list[Tensor], calls: int) -> float:
    """Return the CPU seconds of several calls, each on fresh copies of the same gradients.

    Args:
        clip: clips the gradients of the network.
        network: network whose gradients are clipped.
        drawn: the gradients.
        calls: number of calls.
    """
    seconds = 0.0
    for _ in range(calls):
        for parameter, gradient in zip(network.parameters(), drawn, strict=True):
            parameter.grad = gradient.clone()
        start = time.process_time()
        clip()
        seconds += time.process_time() - start
    return seconds


def clipper_of(name: str) -> Clipper:
    """Return the clipper of a method in :data:`METHODS`."""
    settings = METHODS[name]
    return make_clipper("groups" if "groups" in settings else name.partition(",")[0], **settings)


def clip_in_place(clipper: Clipper, network: nn.Module) -> Callable[[], None]:
    """Return what the callback does at each step, as a function that needs no Trainer."""
    callback, module = ClipGradients(clipper), Regressor(network)
    trainer, optimizer = Trainer(**QUIET), torch.optim.SGD(network.parameters())  # type: ignore[arg-type]
    trainer.strategy.optimizers = [optimizer]
    callback.on_fit_start(trainer, module)
    return lambda: callback.on_before_optimizer_step(trainer, module, optimizer)


def torch_clipping(name: str, parameters: list[nn.Parameter]) -> Callable[[], object]:
    """Return torch's clipping for a method: of elements for ``value``, of the norm for all others."""
    if name == "value":
        return lambda: nn.utils.clip_grad_value_(parameters, 1.0)
    order = METHODS[name].get("order", 2.0)
    return lambda: nn.utils.clip_grad_norm_(parameters, 1.0, order)


def clipper_table(network: nn.Module, calls: int) -> dict[str, float]:
    """Return the time of each method divided by that of torch's own clipping, on the same gradients."""
    parameters, ratios = list(network.parameters()), {}
    for name in METHODS:
        ours, theirs = clip_in_place(clipper_of(name), network), torch_clipping(name, parameters)
        ratios[name] = ratio_of(ours, theirs, network, calls)
    return ratios


def print_table(title: str, columns: list[str], rows: dict[str, list[str]]) -> None:
    """Print a table in Markdown."""
    print(f"\n| {title} | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    print("\n".join(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()))


def print_monitor(networks: dict[str, Benchmark]) -> bool:
    """Measure the monitor, and print its table; return whether a limit is exceeded."""
    pairs = [(small_step(False), small_step(True)) for _ in range(8)]
    small = min(on for _, on in pairs) / min(off for off, _ in pairs)  # the fastest of each
    monitored = {"the tutorial's network": small} | {name: monitor_ratio(n) for name, n in networks.items()}
    cells = {name: [f"{ratio:.2f}", f"{MONITOR_LIMIT:g}"] for name, ratio in monitored.items()}
    print_table("gradient monitor on / off", ["here", "limit"], cells)
    return any(ratio > MONITOR_LIMIT for ratio in monitored.values())


def print_clippers(networks: dict[str, Benchmark]) -> bool:
    """Measure the clippers, and print their table; return whether a limit is exceeded."""
    tables = {"the tutorial's network": clipper_table(MLP(20), 100)}
    tables |= {name: clipper_table(networks[name], calls) for name, calls in CALLS.items()}
    cells = {name: [f"{table[name]:.2f}" for table in tables.values()] for name in METHODS}
    cells = {name: [*ratios, f"{limit_of(name):g}"] for name, ratios in cells.items()}
    print_table("method / torch's clipping", [*tables, "limit"], cells)
    return any(ratio > limit_of(name) for table in tables.values() for name, ratio in table.items())


TABLES = {"monitor": print_monitor, "clippers": print_clippers}


def main() -> int:
    """Measure everything, and print the tables."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    networks = {
        "LSTM of 216,000": Recurrent(),
        "transformer of 10 million, 512 tokens": Transformer(),
        "10 tensors of a million": Vectors(10, 1_000_000),
        "2,000 tensors of 1,000": Vectors(2_000, 1_000),
    }
    over = [TABLES[name](networks) for name in sys.argv[1:] or TABLES]
    return int(any(over))


def limit_of(method: str) -> float:
    """Return the limit of a method's time divided by torch's."""
    return 1.2 if method in {"norm", "value"} else 2.0


if __name__ == "__main__":
    sys.exit(main())
