"""Train replicas side by side. Read :meth:`StackedTraining.run` from top to bottom."""

import copy
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradclip.config.schema import TrainConfig
from gradclip.models.module import SupervisedModule
from gradclip.models.optimization import learning_rate_factors
from gradclip.stacked.batches import StackedBatches
from gradclip.stacked.clipping import StackedClipper
from gradclip.stacked.network import StackedNetwork, check_stacking
from gradclip.stacked.optimizers import init_memory, optimizer_step
from gradclip.stacked.replicas import Replica
from gradclip.stacked.scores import StackedScores
from gradclip.stacked.state import Placement, State
from gradclip.stacked.telemetry import StackedRecorder, StackedSnapshots, StackedStep
from gradclip.stacked.varying import differing
from gradclip.telemetry.recorders import StepIndex
from gradclip.tracking.records import now
from gradclip.training.components import build_module
from gradclip.training.result import BOUNDED_LOSSES, Result

NONE = torch.empty(0, dtype=torch.long)  # of the replicas
FLUSH_EVERY = 20  # optimizer steps, as in GradientMonitor: there a diverged training is found and ended


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
        double = self.config.trainer.precision == "64-true"
        self.placement = Placement(device, torch.float64 if double else torch.float32)
        datas = [replica.data for replica in replicas]
        self.batches = StackedBatches(datas)
        self.clipper = StackedClipper(configs, device)
        self.optimizer = self.config.optimizer.model_dump(exclude={"name"})
        with self.placement.precision():
            self.network = StackedNetwork(self._learner(replicas[0]), [replica.network for replica in replicas])
            self.state = self._initial_state(configs)
            self._check()
        self.recorder = StackedRecorder(self.network.names, self.network.sizes, self.clipper.changes_direction)
        self.snapshots = StackedSnapshots() if self.network.has_hidden_states else None
        self.scores = StackedScores(datas, self.network, self.placement)
        self.steps = 0
        self.ended = 0  # when replicas did so the last time, milliseconds since 1970
        self.factors = learning_rate_factors(self.total_steps, **self.config.schedule.model_dump())
        self.first_bad: dict[int, int] = {}  # replica: its first non-finite step

    @property
    def total_steps(self) -> int:
        """Optimizer steps of a training that is not ended early."""
        a_epoch = -(-self.batches.batches // self.config.trainer.accumulate_grad_batches)
        return a_epoch * self.config.trainer.max_epochs

    def run(self) -> Iterator[tuple[int, Result]]:
        """Train; give each replica's number and its result as soon as it ends."""
        for epoch in range(self.config.trainer.max_epochs):
            for last_batch, window in self._windows(epoch):
                self._step(epoch, last_batch, window)
                if self.steps % FLUSH_EVERY == 0:
                    self._read_back()
                    yield from self._end(self._diverged(), epoch)
                if not len(self.state.ids):
                    return
            self.scores.add(self.state, epoch)
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
        ends: list[Tensor] = []
        for place, number in enumerate(window):
            batch = self._batch(number)
            with self.placement.precision():
                if watched and place == 0:
                    self._take_snapshot(batch, total)
                found, loss = self.network.gradients(state.parameters, state.tensors["constants"], *batch)
            gradients, losses = gradients + found / total, losses + loss / len(window)
            ends.append(_ends(batch))
        clipped, skipped = self._clip(gradients)
        before = state.parameters
        self._update(clipped, skipped)
        inputs, target = torch.stack(ends).amax(dim=0)
        step = StackedStep(losses, inputs, target, gradients, clipped, before, state.parameters, skipped)
        self.steps += 1
        self.recorder.add(StepIndex(self.steps, epoch + 1, last_batch), step)
        self.progress(len(state.ids))

    def _clip(self, gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Return clipped gradients, and whose update is to be left out."""
        if self.clipper.changes_nothing:
            return gradients, torch.zeros(len(gradients), dtype=torch.bool, device=self.device)
        tensors, network = self.state.tensors, self.network
        named, parameters = network.views(gradients), network.views(self.state.parameters)
        done = self.clipper(named, parameters, tensors["clipping"], tensors["clip"])
        tensors["clipping"] = dict(done.state)
        return network.flatten(done.gradients), done.skipped

    def _update(self, gradients: Tensor, skipped: Tensor) -> None:
        """Let the optimizer move the parameters, except where the update is left out."""
        state, tensors = self.state, self.state.tensors
        settings: dict[str, Any] = {**self.optimizer, **{path[0]: v for path, v in tensors["optimizer"].items()}}
        settings["lr"] = settings["lr"] * self.factors[self.steps]
        name, memory = self.config.optimizer.name, tensors["memory"]
        parameters, after = optimizer_step(name, state.parameters, gradients, memory, settings)
        if self.clipper.may_skip:
            stays = skipped[:, None]
            parameters = torch.where(stays, state.parameters, parameters)
            after = {key: torch.where(stays, memory[key], value) for key, value in after.items()}
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
        score_scale = self.replicas[0].data.score_scale
        assert score_scale.solved_at is not None
        better = operator.gt if score_scale.score.perfect > score_scale.baseline else operator.lt
        scores = [self.scores.curves[replica][1][-1] for replica in self.state.ids.tolist()]
        return torch.nonzero(torch.tensor([better(score, score_scale.solved_at) for score in scores])).flatten()

    def _end(self, rows: Tensor, epoch: int | None) -> Iterator[tuple[int, Result]]:
        """Take replicas out, scored a last time where it is in the middle of an epoch."""
        if not len(rows):
            return
        ended = self.state.select(rows)
        if epoch is not None:
            self.scores.add(ended, epoch)
        self._read_back()
        self.ended = now()
        self.state = self.state.without(rows)
        self.progress(len(rows) * (self.total_steps - self.steps))
        for row, replica in enumerate(ended.ids.tolist()):
            yield replica, self._result(replica, ended.parameters[row])

    def _result(self, replica: int, parameters: Tensor) -> Result:
        own = self.replicas[replica]
        return Result(
            data=own.data,
            network=self.network.network_of(parameters, replica),
            description=own.description,
            record=self.recorder.record_of(replica),
            curves=self.scores.curves[replica],
            hidden=self.snapshots.record_of(replica) if self.snapshots else None,
            learning_rate=own.config.optimizer.lr,
            accumulated=own.config.trainer.accumulate_grad_batches,
            loss_is_bounded=isinstance(self.network.learner.loss, BOUNDED_LOSSES),
        )

    def _batch(self, number: int) -> tuple[Tensor, Tensor]:
        inputs, target = self.batches.take(number, self.state.ids)
        return self.placement.put(inputs), self.placement.put(target)

    def _take_snapshot(self, batch: tuple[Tensor, Tensor], total: int) -> None:
        assert self.snapshots is not None
        found = self.network.hidden_gradients(self.state.parameters, self.state.tensors["constants"], *batch)
        scaled = {key: gradient / total for key, gradient in found.items()}
        self.snapshots.keep(self.steps + 1, self.state.ids.tolist(), scaled)

    def _learner(self, replica: Replica) -> SupervisedModule:
        """A module of its own with a replica's initial weights."""
        learner = build_module(replica.config, copy.deepcopy(replica.network), replica.data)
        return learner.to(self.device, self.placement.dtype)

    def _initial_state(self, configs: Sequence[TrainConfig]) -> State:
        parameters = self.network.initial_parameters(self.device).to(self.placement.dtype)
        constants = {name: self.placement.put(value) for name, value in self.network.constants(self.device).items()}
        settings = [config.optimizer.model_dump(exclude={"name", "betas"}) for config in configs]
        optimizer = differing(settings, self.device)
        tensors: dict[str, dict[Any, Tensor]] = {
            "constants": constants,
            "memory": init_memory(configs[0].optimizer.name, parameters),
            "clipping": dict(self.clipper.init(self.network.views(parameters))),
            "clip": dict(self.clipper.numbers),
            "optimizer": {path: values.to(self.placement.dtype)[:, None] for path, values in optimizer.items()},
        }
        return State(torch.arange(len(configs)), parameters, tensors)

    def _check(self) -> None:
        """Try the first batch."""
        self.batches.epoch(0)
        learner = self._learner(self.replicas[0])
        check_stacking(self.network, learner, self.state.parameters, self.state.tensors["constants"], self._batch(0))


def _ends(batch: tuple[Tensor, Tensor]) -> Tensor:
    """Largest magnitude of each replica's inputs and target, ``[2, replicas]``; NaN unless both are numbers."""
    if not all(tensor.is_floating_point() for tensor in batch):
        return torch.full((2, len(batch[0])), torch.nan, device=batch[0].device)
    return torch.stack([tensor.flatten(1).abs().amax(dim=1) for tensor in batch])
