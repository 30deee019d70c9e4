"""Checks of gradclip on a GPU; each prints what it measured. On a CPU, they run as far as possible."""

import os
import socket
import tempfile
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain, product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.plugins import MixedPrecision
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from gradclip import ClipGradients, GradientMonitor, Norm
from gradclip.cli.notebook import train
from gradclip.keys import TELEMETRY_FILE
from gradclip.loops.watch import watch
from gradclip.norms.gpu import can_measure
from gradclip.stacked.replicas import make_replicas
from gradclip.stacked.training import StackedTraining
from gradclip.telemetry.measures import measure_gradients
from gradclip.telemetry.record import GradientRecord
from tests.benchmarks.gradients import METHODS, QUIET, clipper_of
from tests.benchmarks.speed import compose_main_job

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ON_GPU = DEVICE.type == "cuda"
SEEDS = 20
SCALE = 2.0**124  # loss scale on a CPU: float32 overflows there as float16 does on a GPU
STACKED = (  # training runs, by the settings that differ from the tutorial's
    (),
    ("clip=skip", "clip.value=300.0", "optimizer=adamw"),
    ("clip=adaptive", "clip.value=0.01", "model=gru", "data=adding", "data.length=10", "data.steps_per_epoch=8",
     "data.test_sequences=100", "data.validation_sequences=100", "trainer.accumulate_grad_batches=2"),
)  # fmt: skip
PATIENCE = timedelta(seconds=60)  # how long one process waits for another
STATISTICS = ("loss", "norms", "norms_clipped", "weights", "updates")
Check = Callable[[], str]  # returns what it measured; raises an AssertionError if that is wrong
Rows = DataLoader[tuple[Tensor, ...]]


def fit(module: LightningModule, rows: Any, callbacks: list[Callback], **settings: Any) -> Trainer:
    """Fit for one epoch on the device, by default."""
    ckpt_path = settings.pop("ckpt_path", None)
    options = {**QUIET, "accelerator": DEVICE.type, "max_epochs": 1, **settings}
    trainer = Trainer(**options, callbacks=callbacks)
    trainer.fit(module, rows, ckpt_path=ckpt_path)
    return trainer


def stacked_training(replicas: int, device: torch.device, epochs: int = 100, *overrides: str) -> StackedTraining:
    """Return stacked training of ``replicas`` thresholds and seeds, by default of the tutorial's network."""
    base = compose_main_job("sqlite:///unused.db", "unused", f"trainer.max_epochs={epochs}", *overrides)
    seeds = min(SEEDS, replicas)
    value = float(base.clip.value or 0.0)
    configs = [
        base.model_copy(update={"seed": seed, "clip": base.clip.model_copy(update={"value": value * factor})})
        for factor in range(1, 1 + replicas // seeds)
        for seed in range(seeds)
    ]
    return StackedTraining(make_replicas(configs), device)


class Line(LightningModule):
    """A linear network, trained by SGD."""

    def __init__(self, fused: bool = False, checkpoints: bool = False) -> None:
        super().__init__()
        self.network, self.fused, self.checkpoints = nn.Linear(10, 1), fused, checkpoints

    def training_step(self, batch: list[Tensor], batch_index: int) -> Tensor:
        inputs, targets = batch
        predicted = checkpoint(self.network, inputs, use_reentrant=False) if self.checkpoints else self.network(inputs)
        return nn.functional.mse_loss(predicted, targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3, fused=self.fused)


def _line(target: float = 1.0, **options: bool) -> tuple[Line, Rows]:
    torch.manual_seed(0)
    rows = TensorDataset(torch.randn(80, 10), target * torch.randn(80, 1))
    return Line(**options), DataLoader(rows, batch_size=8)


def _record(module: Line, rows: Rows, **settings: Any) -> GradientRecord:
    monitor = GradientMonitor()
    fit(module, rows, [monitor, ClipGradients(Norm(0.1))], **settings)
    return monitor.record


def _same(found: GradientRecord, expected: GradientRecord) -> str:
    """Assert that two records are the same, to float tolerance."""
    assert found.step.tolist() == expected.step.tolist()
    for name in STATISTICS:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-3, atol=1e-6, err_msg=name)
    return f"{len(found.step)} steps are the same"


def _in_float16() -> dict[str, Any]:
    """Return settings of a Trainer that scales its loss."""
    if ON_GPU:
        return {"precision": "16-mixed"}
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=SCALE))
    plugin.autocast_context_manager = lambda: torch.autocast("cpu", enabled=False)  # type: ignore[method-assign]
    return {"plugins": [plugin]}


def check_clippers() -> str:
    """Check that each clipper reports on the gradients' device."""
    gradients = {"weights": torch.ones(3, 2, device=DEVICE), "bias": torch.ones(2, device=DEVICE)}
    for name in METHODS:
        clipper = clipper_of(name)
        clipped, _, report = clipper(gradients, gradients, clipper.init(gradients))
        assert {tensor.device.type for tensor in (*clipped.values(), *report)} == {DEVICE.type}, name
    return f"{len(METHODS)} methods report on {DEVICE.type}"


def check_stacked() -> str:
    """Stacked replicas have on the device the records and scores that they have on a CPU."""
    for overrides in STACKED:
        here, there = (
            dict(chain.from_iterable(stacked_training(4, device, 2, "trainer.precision=64-true", *overrides).run()))
            for device in (DEVICE, torch.device("cpu"))
        )
        for number, result in here.items():
            _same(result.record, there[number].record)
            for split, scores in result.curves.items():
                np.testing.assert_allclose(scores, there[number].curves[split], rtol=1e-3, err_msg=split)
    return f"{len(STACKED)} training runs have the records and scores of a CPU"


def check_waiting() -> str:
    """Between two flushes neither the monitor waits for the device, nor a clipper unless it may skip the update."""
    names = [name for name in METHODS if not clipper_of(name).may_skip]
    for name, width in product(names, (10, 400)):  # elements are copied, or measured
        model = nn.Linear(width, width, device=DEVICE)
        optimizer, rows = torch.optim.SGD(model.parameters(), lr=1e-3), torch.ones(8, width, device=DEVICE)
        with watch(model, optimizer, clipper_of(name)) as watched:
            for may_wait in (True, False, False):  # the first step sets things up
                with _waiting(may_wait, f"{name}, {width} x {width}"):
                    optimizer.zero_grad()
                    watched.loss(model(rows).square().mean()).backward()
                    optimizer.step()
    return f"{len(names)} methods do not wait for {DEVICE.type}"


@contextmanager
def _waiting(is_allowed: bool, what: str) -> Iterator[None]:
    """Refuse, unless it is allowed, what makes the host wait for a GPU."""
    if is_allowed or not ON_GPU:
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    except RuntimeError as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise AssertionError(f"{what}: {error}, {place.filename}:{place.lineno}") from error
    finally:
        torch.cuda.set_sync_debug_mode("default")


def check_fused() -> str:
    """Check that gradients which a fused optimizer unscales are clipped at their own scale."""
    moved = []
    for fused in (False, True):
        module, rows = _line(target=100.0, fused=fused)
        before = module.network.weight.detach().clone()
        fit(module, rows, [ClipGradients(Norm(0.1))], **_in_float16())
        moved.append((module.network.weight.detach().cpu() - before).norm())
    assert moved[0] > 0
    torch.testing.assert_close(moved[0], moved[1], rtol=0.05, atol=0.0)
    return f"weights move by {moved[1]:.2g} with a fused optimizer and another"


def check_loss_scale() -> str:
    """Check that updates which the loss scaler skips are recorded as skipped."""
    record = _record(*_line(target=100.0), **_in_float16())
    left_out = ~np.isfinite(record.norm)
    assert 0 < left_out.sum() < len(left_out), left_out
    assert (record.skipped == left_out).all()
    assert (record.scaler_skipped == left_out).all()
    return f"{left_out.sum()} of {len(left_out)} updates were skipped"


def check_norms() -> str:
    """Check norms and counts, also of ten million elements, against a CPU in float64; a GPU uses one kernel."""
    torch.manual_seed(0)
    long, huge, bad = torch.full((10_000_000,), 0.1), torch.full((70_000,), 3e38), torch.randn(50_000)
    bad[7], bad[40_000] = torch.nan, -torch.inf
    tensors = [torch.randn(300_001), torch.randn(300, 70).t(), torch.randn(9).bfloat16(), torch.zeros(0)]
    tensors += [long, huge, bad]
    here = [tensor.to(DEVICE) for tensor in tensors]
    assert can_measure(here) == ON_GPU, "Triton does not work"
    with _waiting(is_allowed=False, what="norms"):
        norms, _, counts = measure_gradients(here)
    expected = torch.stack([tensor.double().norm() for tensor in tensors])
    torch.testing.assert_close(norms.cpu(), expected, rtol=1e-5, atol=0.0, equal_nan=True)
    assert counts.tolist() == [0] * 6 + [2]
    return f"{len(tensors)} tensors have the norms of a CPU"


def check_tracked_run() -> str:
    """Check that a run without clipping is stored with its record, and that its explosion is reported."""
    with tempfile.TemporaryDirectory() as folder:
        places = {"uri": f"sqlite:///{folder}/mlflow.db", "artifacts": f"{folder}/artifacts"}
        options = {f"tracking.{name}": place for name, place in places.items()} | {"hydra.run.dir": f"{folder}/run"}
        trainer = ("trainer=gpu",) if ON_GPU else ()
        few = ("trainer.max_epochs=2", "trainer.progress_bar=false", "figures=false", "log_model=false")
        run = train("clip=none", *trainer, *few, **options)
        stored = pd.read_parquet(next(Path(folder, "artifacts").rglob(Path(TELEMETRY_FILE).name)))
    assert run.explosion is not None
    pd.testing.assert_frame_equal(stored, run.record.to_frame(), check_dtype=False)
    return f"{len(stored)} steps are stored; {str(run.explosion).splitlines()[0]}"


def check_resume() -> str:
    """Check that a resumed training run has the record of an uninterrupted one."""
    module, rows = _line()
    whole = _record(module, rows, max_epochs=2)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/half.ckpt"
        fit(*_line(), [GradientMonitor(), ClipGradients(Norm(0.1))]).save_checkpoint(path)
        return _same(_record(*_line(), max_epochs=2, ckpt_path=path), whole)


def check_compiled() -> str:
    """Check that a compiled module has the record of the module itself."""
    module, rows = _line()
    module.network.compile(backend="inductor" if ON_GPU else "aot_eager")  # which needs no compiler
    return _same(_record(module, rows), _record(*_line()))


def check_activation_checkpoints() -> str:
    """Check that activation checkpointing does not change the record."""
    return _same(_record(*_line(checkpoints=True)), _record(*_line()))


def check_process_group() -> str:
    """Check that the monitor works with the device's process group, of one process."""
    return _same(_records_of_processes(1, DEVICE.type)[0], _record(*_line()))


def check_two_processes() -> str:
    """Check that two processes, on two GPUs or else on a CPU, have the record of one."""
    accelerator = "cuda" if torch.cuda.device_count() > 1 else "cpu"
    alone = _record(*_line())
    seen = [_same(record, alone) for record in _records_of_processes(2, accelerator)]
    return f"{seen[0]} in both processes, on {accelerator}"


def _records_of_processes(processes: int, accelerator: str) -> list[GradientRecord]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    start = get_context("spawn" if ON_GPU else "fork")  # a fork cannot use a GPU that its parent has used
    with ProcessPoolExecutor(processes, mp_context=start) as pool:
        arguments = [(rank, processes, port, accelerator) for rank in range(processes)]
        return list(pool.map(_train_in_process, *zip(*arguments, strict=True)))


def _train_in_process(rank: int, processes: int, port: int, accelerator: str) -> GradientRecord:
    """Train in one of several processes, which share a batch of eight rows."""
    torch.set_num_threads(1)
    place = {"LOCAL_RANK": rank, "NODE_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in place.items()}
    module, rows = _line()
    sampler = DistributedSampler(rows.dataset, processes, rank, shuffle=False)  # type: ignore[var-annotated]
    settings = {"accelerator": accelerator, "devices": processes, "use_distributed_sampler": False}
    part = DataLoader(rows.dataset, 8 // processes, sampler=sampler)
    return _record(module, part, strategy=DDPStrategy(timeout=PATIENCE), **settings)


CHECKS: dict[str, Check] = {
    "1: reports of the clippers": check_clippers,
    "1: stacked training": check_stacked,
    "1: no waiting between flushes": check_waiting,
    "2: fused optimizer and loss scale": check_fused,
    "3: updates that the loss scaler leaves out": check_loss_scale,
    "4: process group of the device": check_process_group,
    "5: norms": check_norms,
    "6: stored record, explosion report": check_tracked_run,
    "6: checkpoint and resume": check_resume,
    "6: activation checkpointing": check_activation_checkpoints,
    "6: torch.compile": check_compiled,
    "6: two processes": check_two_processes,
}
