"""Train replicas side by side. Read :meth:`StackedTraining.run` from top to bottom."""

import copy
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradclip import keys
from gradclip.config import TrainConfig
from gradclip.data.base import EVALUATION_VALUES, TrainingData
from gradclip.module import Learner
from gradclip.optimization import learning_rate_factors
from gradclip.pipeline import build_module
from gradclip.stacked.batches import Batch, StackedBatches, StackedEvaluation
from gradclip.stacked.clipping import StackedClipper
from gradclip.stacked.network import StackedNetwork, check_stacking
from gradclip.stacked.numbers import differing
from gradclip.stacked.optimizers import init_memory, optimizer_step
from gradclip.stacked.replicas import Replica
from gradclip.stacked.telemetry import StackedRecorder, StackedSnapshots, StackedStep
from gradclip.telemetry.probe import Place
from gradclip.trained import BOUNDED_LOSSES, Trained

NONE = torch.empty(0, dtype=torch.long)  # of the replicas
FLUSH_EVERY = 20  # optimizer steps, as in GradientMonitor: there a diverged training is found and ended


@dataclass
class _State:
    """All that belongs to the replicas that are still trained; each tensor ``[replicas, ...]``."""

    ids: Tensor  # which replicas they are
    parameters: Tensor
    tensors: dict[str, dict[Any, Tensor]]  # constants, optimizer's memory, clipper's state, numbers of both

    def of(self, replicas: Sequence[int]) -> "_State":
        """Those of some replicas that are still trained."""
        wanted = torch.isin(self.ids, torch.tensor(replicas))
        return self if wanted.all() else self.select(torch.nonzero(wanted).flatten())

    def select(self, rows: Tensor) -> "_State":
        at = rows.to(self.parameters.device)
        tensors = {kind: {key: value[at] for key, value in part.items()} for kind, part in self.tensors.items()}
        return _State(self.ids[rows], self.parameters[at], tensors)


class StackedTraining:
    """Trainings that differ only in what can be stacked; each ends as its ordinary run would.

    Args:
        replicas: what is trained.
        device: where.
        progress: called with the number of optimizer steps of single replicas that were taken or are left out.

    Raises:
        StackingError: they cannot be stacked.
        ClippingError: a pattern matches no parameter.
    """

    def __init__(
        self, replicas: Sequence[Replica], device: torch.device, progress: Callable[[int], object] = int
    ) -> None:
        self.replicas, self.device, self.progress = replicas, device, progress
        configs = [replica.config for replica in replicas]
        self.config = configs[0]
        self.dtype = torch.float64 if self.config.trainer.precision == "64-true" else torch.float32
        datas = [replica.data for replica in replicas]
        self.batches, self.evaluation = StackedBatches(datas), StackedEvaluation(datas)
        self.clipper = StackedClipper(configs, device)
        self.optimizer = self.config.optimizer.model_dump(exclude={"name"})
        with self._precision():
            self.network = StackedNetwork(self._learner(replicas[0]), [replica.network for replica in replicas])
            self.state = self._initial_state(configs)
            self._check()
        self.recorder = StackedRecorder(self.network.names, self.network.sizes, self.clipper.bends_direction)
        self.snapshots = StackedSnapshots() if self.network.has_hidden_states else None
        self.curves: list[tuple[list[float], list[float]]] = [([], []) for _ in replicas]
        self.units = torch.tensor([_unit_of_score(replica.data) for replica in replicas], dtype=torch.float64)
        self.factors = learning_rate_factors(self.total_steps, **self.config.schedule.model_dump())
        self.first_bad: dict[int, int] = {}  # replica: its first non-finite step

    @property
    def total_steps(self) -> int:
        """Optimizer steps of a training that is not ended early."""
        a_epoch = -(-self.batches.batches // self.config.trainer.accumulate_grad_batches)
        return a_epoch * self.config.trainer.max_epochs

    def run(self) -> Iterator[tuple[int, Trained]]:
        """Train; give each replica's number and what its training left behind as soon as it ends."""
        self.steps = 0
        for epoch in range(self.config.trainer.max_epochs):
            for last_batch, window in self._windows(epoch):
                self._step(epoch, last_batch, window)
                if self.steps % FLUSH_EVERY == 0:
                    self._read_back()
                    yield from self._end(self._diverged(), epoch)
                if not len(self.state.ids):
                    return
            self._evaluate(self.state, epoch)
            yield from self._end(self._solved(), epoch=None)
            if not len(self.state.ids):
                return
        yield from self._end(torch.arange(len(self.state.ids)), epoch=None)

    def _windows(self, epoch: int) -> Iterator[tuple[int, list[int]]]:
        """The batches that add up to each optimizer step, and the last of them."""
        numbers = list(self.batches.epoch(epoch))
        size = self.config.trainer.accumulate_grad_batches
        for start in range(0, len(numbers), size):
            window = numbers[start : start + size]
            yield window[-1], window

    def _step(self, epoch: int, last_batch: int, window: Sequence[int]) -> None:
        """Take an optimizer step of all replicas."""
        state, total = self.state, self.config.trainer.accumulate_grad_batches
        watched = self.snapshots is not None and self.snapshots.is_due()
        gradients, losses = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        for place, number in enumerate(window):
            batch = self._batch(number)
            with self._precision():
                if watched and place == 0:
                    self._take_snapshot(batch, total)
                found, loss = self.network.gradients(state.parameters, state.tensors["constants"], *batch)
            gradients, losses = gradients + found / total, losses + loss / total
        clipped, skipped = self._clip(gradients)
        before = state.parameters
        self._update(clipped, skipped)
        step = StackedStep(losses, *_ends(batch), gradients, clipped, before, state.parameters)
        self.steps += 1
        self.recorder.add(Place(self.steps, epoch + 1, last_batch), step)
        self.progress(len(state.ids))

    def _clip(self, gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return clipped gradients, and whose update is to be left out."""
        if self.clipper.changes_nothing:
            return gradients, None
        tensors, network = self.state.tensors, self.network
        named, parameters = network.views(gradients), network.views(self.state.parameters)
        done = self.clipper(named, parameters, tensors["clipping"], tensors["clip"])
        tensors["clipping"] = dict(done.state)
        return network.flatten(done.gradients), done.skipped[:, None] if self.config.clip.name == "skip" else None

    def _update(self, gradients: Tensor, skipped: Tensor | None) -> None:
        """Let the optimizer move the parameters, except where the update is left out."""
        state, tensors = self.state, self.state.tensors
        settings: dict[str, Any] = {**self.optimizer, **{path[0]: v for path, v in tensors["optimizer"].items()}}
        settings["lr"] = settings["lr"] * self.factors[self.steps]
        name, memory = self.config.optimizer.name, tensors["memory"]
        parameters, after = optimizer_step(name, state.parameters, gradients, memory, settings)
        if skipped is not None:
            parameters = torch.where(skipped, state.parameters, parameters)
            after = {key: torch.where(skipped, memory[key], value) for key, value in after.items()}
        state.parameters, tensors["memory"] = parameters, after

    def _read_back(self) -> None:
        """Read back the latest steps, and note who diverged in them."""
        if not len(self.recorder):
            return
        ids = self.state.ids.tolist()
        bad = self.recorder.flush(ids)
        first_step = self.steps - len(bad) + 1
        for row in np.flatnonzero(bad.any(axis=0)).tolist():
            self.first_bad.setdefault(ids[row], first_step + int(bad[:, row].argmax()))

    def _diverged(self) -> Tensor:
        """The rows of the replicas that diverged long enough ago."""
        patience = self.config.trainer.steps_after_divergence
        if patience is None:
            return NONE
        ids = self.state.ids.tolist()
        ended = [self.steps - self.first_bad.get(replica, self.steps + 1) >= patience for replica in ids]
        return torch.nonzero(torch.tensor(ended)).flatten()

    def _solved(self) -> Tensor:
        """The rows of the replicas that have solved their problem, where that ends a training."""
        if not self.config.trainer.stop_when_solved:
            return NONE
        yardstick = self.replicas[0].data.yardstick
        assert yardstick.solved_at is not None
        better = operator.gt if yardstick.score.perfect > yardstick.baseline else operator.lt
        scores = [self.curves[replica][1][-1] for replica in self.state.ids.tolist()]
        return torch.nonzero(torch.tensor([better(score, yardstick.solved_at) for score in scores])).flatten()

    def _end(self, rows: Tensor, epoch: int | None) -> Iterator[tuple[int, Trained]]:
        """Take replicas out, scored a last time where it is in the middle of an epoch."""
        if not len(rows):
            return
        ended = self.state.select(rows)
        if epoch is not None:
            self._evaluate(ended, epoch)
        self._read_back()
        stays = torch.ones(len(self.state.ids), dtype=torch.bool)
        stays[rows] = False
        self.state = self.state.select(torch.nonzero(stays).flatten())
        self.progress(len(rows) * (self.total_steps - self.steps))
        for row, replica in enumerate(ended.ids.tolist()):
            yield replica, self._trained(replica, ended.parameters[row])

    def _trained(self, replica: int, parameters: Tensor) -> Trained:
        own = self.replicas[replica]
        return Trained(
            data=own.data,
            network=self.network.network_of(parameters, replica),
            description=own.description,
            record=self.recorder.record_of(replica),
            curves=self.curves[replica],
            hidden=self.snapshots.record_of(replica) if self.snapshots else None,
            learning_rate=own.config.optimizer.lr,
            accumulated=own.config.trainer.accumulate_grad_batches,
            loss_is_bounded=isinstance(self.network.learner.loss, BOUNDED_LOSSES),
        )

    @torch.no_grad()
    def _evaluate(self, state: _State, epoch: int) -> None:
        """Add a point to the curves of some replicas."""
        learner = self.network.learner.eval()
        for part in (0, 1):
            sums = torch.zeros(len(self.replicas), dtype=torch.float64)
            counts = torch.zeros(len(self.replicas), dtype=torch.float64)
            for replicas, batch in self.evaluation.batches(part, epoch):
                some = state.of(replicas)
                for inputs, target in self._chunks(batch, len(some.ids)):
                    scored = self._scored(some, inputs, target)
                    sums[some.ids] += scored.sum(dim=1, dtype=torch.float64).cpu()
                    counts[some.ids] += scored.shape[1]
            scores = (sums / counts * self.units).tolist()
            for replica in state.ids.tolist():
                self.curves[replica][part].append(scores[replica])
        learner.train()

    def _scored(self, state: _State, inputs: Tensor, target: Tensor) -> Tensor:
        """What the score is the mean of, ``[replicas, values]``."""
        with self._precision():
            outputs = self.network.outputs(state.parameters, state.tensors["constants"], inputs)
        return self.network.learner.per_example(outputs, target.expand(len(outputs), *target.shape)).flatten(1)

    def _chunks(self, batch: Batch, replicas: int) -> Iterator[Batch]:
        """So many rows at a time that all replicas together take no more memory than an ordinary run."""
        rows = max(1, EVALUATION_VALUES // (max(1, replicas) * batch[0][0].numel()))
        return zip(*(torch.split(self._placed(tensor), rows) for tensor in batch), strict=True)

    def _batch(self, number: int) -> tuple[Tensor, Tensor]:
        inputs, target = self.batches.take(number, self.state.ids)
        return self._placed(inputs), self._placed(target)

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype)

    def _take_snapshot(self, batch: tuple[Tensor, Tensor], total: int) -> None:
        assert self.snapshots is not None
        found = self.network.hidden_gradients(self.state.parameters, self.state.tensors["constants"], *batch)
        scaled = {key: gradient / total for key, gradient in found.items()}
        self.snapshots.keep(self.steps + 1, self.state.ids.tolist(), scaled)

    def _learner(self, replica: Replica) -> Learner:
        """A module of its own with a replica's initial weights."""
        learner = build_module(replica.config, copy.deepcopy(replica.network), replica.data)
        return learner.to(self.device, self.dtype)

    def _initial_state(self, configs: Sequence[TrainConfig]) -> _State:
        parameters = self.network.initial_parameters(self.device).to(self.dtype)
        constants = {name: self._placed(value) for name, value in self.network.constants(self.device).items()}
        settings = [config.optimizer.model_dump(exclude={"name", "betas"}) for config in configs]
        optimizer = differing(settings, self.device)
        tensors: dict[str, dict[Any, Tensor]] = {
            "constants": constants,
            "memory": init_memory(configs[0].optimizer.name, parameters),
            "clipping": dict(self.clipper.init(self.network.views(parameters))),
            "clip": dict(self.clipper.numbers),
            "optimizer": {path: values.to(self.dtype)[:, None] for path, values in optimizer.items()},
        }
        return _State(torch.arange(len(configs)), parameters, tensors)

    def _check(self) -> None:
        """Try the first batch."""
        self.batches.epoch(0)
        learner = self._learner(self.replicas[0])
        check_stacking(self.network, learner, self.state.parameters, self.state.tensors["constants"], self._batch(0))

    @contextmanager
    def _precision(self) -> Iterator[None]:
        """New tensors are of the trained type, as under Lightning."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def _unit_of_score(data: TrainingData) -> float:
    """What a score in the scaled unit is multiplied by."""
    return data.target_scale**2 if data.yardstick.score is keys.MSE else 1.0


def _ends(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Largest magnitude of each replica's inputs and target, where both are numbers."""
    if not all(tensor.is_floating_point() for tensor in batch):
        nothing = torch.full((len(batch[0]),), torch.nan, device=batch[0].device)
        return nothing, nothing
    inputs, target = (tensor.flatten(1).abs().amax(dim=1) for tensor in batch)
    return inputs, target
