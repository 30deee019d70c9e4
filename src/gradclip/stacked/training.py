"""Train all replicas together. Read :meth:`StackedTraining.run` from top to bottom."""

import copy
import ctypes
import operator
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradclip.config.schema import TrainConfig
from gradclip.models.module import SupervisedModule
from gradclip.models.optimization import learning_rate_factors
from gradclip.stacked.batches import StackedBatches
from gradclip.stacked.clipping import StackedClipper
from gradclip.stacked.evaluation import StackedEvaluator
from gradclip.stacked.network import StackedNetwork, check_stacking
from gradclip.stacked.optimizers import init_optimizer_state, optimizer_step
from gradclip.stacked.replicas import Replica
from gradclip.stacked.state import TensorOptions, TrainState
from gradclip.stacked.telemetry import StackedHiddenStateRecorder, StackedRecorder, StackedStep
from gradclip.stacked.varying import varying_values
from gradclip.telemetry.recorders import StepIndex
from gradclip.tracking.records import now
from gradclip.training.components import build_module
from gradclip.training.result import BOUNDED_LOSSES, Result

NO_ROWS = torch.empty(0, dtype=torch.long)
FLUSH_EVERY = 20  # optimizer steps, the default of GradientMonitor: a diverged training is noticed at a flush
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
KEPT_MEMORY = 2**30  # bytes
MMAP_LIMIT = 2**25  # bytes of one allocation; older versions of glibc accept no more


class StackedTraining:
    """Trainings that differ only in what can be stacked; each one ends as its ordinary run would.

    Args:
        replicas: the trainings.
        device: the device to train on.
        progress: called after each step with the number of optimizer steps, summed over replicas, that were taken or
            will not be taken since a replica has ended.

    Attributes:
        total_steps: optimizer steps of a training that does not end early.
        steps: optimizer steps taken so far.
        end_time: when replicas ended last, in milliseconds since 1970.

    Raises:
        StackingError: the trainings cannot be stacked.
        ClippingError: a pattern matches no parameter.
    """

    def __init__(
        self, replicas: Sequence[Replica], device: torch.device, progress: Callable[[int], object] = int
    ) -> None:
        self.replicas, self.device, self.progress = replicas, device, progress
        configs = [replica.config for replica in replicas]
        data = [replica.data for replica in replicas]
        self.config = configs[0]
        double = self.config.trainer.precision == "64-true"
        self.options = TensorOptions(device, torch.float64 if double else torch.float32)
        self.batches = StackedBatches(data)
        self.clipper = StackedClipper(configs, device)
        with self.options.default_dtype():
            self.network = StackedNetwork(self._learner(replicas[0]), [replica.network for replica in replicas])
            self.state = self._initial_state(configs)
            self._check_first_batch()
        self.recorder = StackedRecorder(self.network.names, self.network.sizes, self.clipper.changes_direction)
        self.hidden_recorder = StackedHiddenStateRecorder() if self.network.has_hidden_states else None
        self.evaluator = StackedEvaluator(data, self.network, self.options)
        self.steps = self.end_time = 0
        self._optimizer_settings = self.config.parts.optimizer.model_dump(exclude={"name"})
        self._learning_rate_factors = learning_rate_factors(self.total_steps, **self.config.parts.schedule.model_dump())
        self._diverged_step: dict[int, int] = {}  # by index of the replica

    @property
    def total_steps(self) -> int:
        """Optimizer steps of a training that does not end early."""
        steps_per_epoch = -(-self.batches.batches_per_epoch // self.config.trainer.accumulate_grad_batches)
        return steps_per_epoch * self.config.trainer.max_epochs

    def run(self) -> Iterator[tuple[int, Result]]:
        """Train; yield each replica's index and result as soon as its training ends."""
        for epoch in range(self.config.trainer.max_epochs):
            for batches in self._batches_of_steps(epoch):
                self._step(epoch, batches)
                if self.steps % FLUSH_EVERY == 0:
                    self._flush()
                    yield from self._end(self._diverged_rows(), epoch)
                if not len(self.state.ids):
                    return
            self.evaluator.evaluate(self.state, epoch)
            yield from self._end(self._solved_rows(), epoch=None)
            if not len(self.state.ids):
                return
        yield from self._end(torch.arange(len(self.state.ids)), epoch=None)

    def _batches_of_steps(self, epoch: int) -> Iterator[Sequence[int]]:
        """Yield, for each optimizer step of an epoch, the indices of the batches that it accumulates."""
        batches, size = self.batches.start_epoch(epoch), self.config.trainer.accumulate_grad_batches
        for start in range(0, len(batches), size):
            yield batches[start : start + size]

    def _step(self, epoch: int, batches: Sequence[int]) -> None:
        """Take an optimizer step of all replicas."""
        state, accumulated = self.state, self.config.trainer.accumulate_grad_batches
        record_hidden = self.hidden_recorder is not None and self.hidden_recorder.start_step()
        gradients, losses = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        max_abs: list[Tensor] = []
        for index in batches:
            batch = self._batch(index)
            with self.options.default_dtype():
                if record_hidden and index == batches[0]:
                    self._record_hidden_states(batch)
                found, loss = self.network.gradients(state.parameters, state.constants, *batch)
            gradients, losses = gradients + found / accumulated, losses + loss / len(batches)
            max_abs.append(_max_abs(batch))
        clipped, skipped = self._clip(gradients)
        before = state.parameters
        self._update(clipped, skipped)
        inputs, targets = torch.stack(max_abs).amax(dim=0)
        step = StackedStep(losses, inputs, targets, gradients, clipped, before, state.parameters, skipped)
        self.steps += 1
        self.recorder.record_step(StepIndex(self.steps, epoch + 1, batches[-1]), step)
        self.progress(len(state.ids))

    def _clip(self, gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Return the clipped gradients, and which replicas' updates are to be skipped."""
        if self.clipper.changes_nothing:
            return gradients, torch.zeros(len(gradients), dtype=torch.bool, device=self.device)
        state, network = self.state, self.network
        clipped = self.clipper(
            network.views(gradients), network.views(state.parameters), state.clipper_state, state.clipper_settings
        )
        state.clipper_state = clipped.state
        return network.flatten(clipped.gradients), clipped.skipped

    def _update(self, gradients: Tensor, skipped: Tensor) -> None:
        """Update parameters and optimizer states, except those of skipped updates."""
        state = self.state
        varying = {str(path[0]): values for path, values in state.optimizer_settings.items()}
        settings: dict[str, Any] = {**self._optimizer_settings, **varying}
        settings["lr"] = settings["lr"] * self._learning_rate_factors[self.steps]
        name = self.config.parts.optimizer.name
        parameters, optimizer = optimizer_step(name, state.parameters, gradients, state.optimizer_state, settings)
        if self.clipper.may_skip:
            stays = skipped[:, None]
            parameters = torch.where(stays, state.parameters, parameters)
            optimizer = {key: torch.where(stays, state.optimizer_state[key], value) for key, value in optimizer.items()}
        state.parameters, state.optimizer_state = parameters, optimizer

    def _flush(self) -> None:
        """Flush the recorder, and note the first diverged step of each replica."""
        if not self.recorder.pending:
            return
        ids = self.state.ids.tolist()
        diverged = self.recorder.flush(ids)
        first_step = self.steps - len(diverged) + 1
        for row in np.flatnonzero(diverged.any(axis=0)).tolist():
            self._diverged_step.setdefault(ids[row], first_step + int(diverged[:, row].argmax()))

    def _diverged_rows(self) -> Tensor:
        """Return the rows of the replicas that end because they diverged."""
        steps_after_divergence = self.config.trainer.steps_after_divergence
        if steps_after_divergence is None:
            return NO_ROWS
        diverged = [self._diverged_step.get(replica, self.steps + 1) for replica in self.state.ids.tolist()]
        return torch.nonzero(self.steps - torch.tensor(diverged) >= steps_after_divergence).flatten()

    def _solved_rows(self) -> Tensor:
        """Return the rows of the replicas that end because they solved the problem."""
        if not self.config.trainer.stop_when_solved:
            return NO_ROWS
        score_scale = self.replicas[0].data.score_scale
        assert score_scale.solved_at is not None
        better = operator.gt if score_scale.score.perfect > score_scale.baseline else operator.lt
        scores = [self.evaluator.curves[replica][1][-1] for replica in self.state.ids.tolist()]
        return torch.nonzero(torch.tensor([better(score, score_scale.solved_at) for score in scores])).flatten()

    def _end(self, rows: Tensor, epoch: int | None) -> Iterator[tuple[int, Result]]:
        """End the training of some replicas; yield their indices and results.

        Args:
            rows: of the replicas in the state.
            epoch: an epoch counted from 0 that ends early with them, so that they are scored now; None between epochs.
        """
        if not len(rows):
            return
        ended = self.state.select(rows)
        if epoch is not None:
            self.evaluator.evaluate(ended, epoch)
        self._flush()
        self.end_time = now()
        self.state = self.state.drop(rows)
        self.progress(len(rows) * (self.total_steps - self.steps))
        for row, replica in enumerate(ended.ids.tolist()):
            yield replica, self._result(replica, ended.parameters[row])

    def _result(self, index: int, parameters: Tensor) -> Result:
        replica, record = self.replicas[index], self.recorder.record_of(index)
        rates = replica.config.parts.optimizer.lr * np.array(self._learning_rate_factors)[record.step - 1]
        return Result(
            data=replica.data,
            network=self.network.network_of(parameters, index),
            description=replica.description,
            record=replace(record, learning_rate=rates),
            score_scale=replica.data.score_scale,
            curves=self.evaluator.curves[index],
            hidden=self.hidden_recorder.record_of(index) if self.hidden_recorder else None,
            learning_rate=replica.config.parts.optimizer.lr,
            accumulated=replica.config.trainer.accumulate_grad_batches,
            loss_is_bounded=isinstance(self.network.learner.loss, BOUNDED_LOSSES),
        )

    def _batch(self, index: int) -> tuple[Tensor, Tensor]:
        inputs, targets = self.batches.batch(index, self.state.ids)
        return self.options.convert(inputs), self.options.convert(targets)

    def _record_hidden_states(self, batch: tuple[Tensor, Tensor]) -> None:
        assert self.hidden_recorder is not None
        accumulated = self.config.trainer.accumulate_grad_batches
        found = self.network.hidden_gradients(self.state.parameters, self.state.constants, *batch)
        derivatives = {layer: derivative / accumulated for layer, derivative in found.items()}
        self.hidden_recorder.record_step(self.steps + 1, self.state.ids.tolist(), derivatives)

    def _learner(self, replica: Replica) -> SupervisedModule:
        """Return a new module with a replica's initial weights."""
        learner = build_module(replica.config, copy.deepcopy(replica.network), replica.data)
        return learner.to(self.device, self.options.dtype)

    def _initial_state(self, configs: Sequence[TrainConfig]) -> TrainState:
        parameters = self.network.initial_parameters(self.device).to(self.options.dtype)
        constants = self.network.constants(self.device)
        settings = [config.parts.optimizer.model_dump(exclude={"name", "betas"}) for config in configs]
        varying = varying_values(settings, self.device)
        return TrainState(
            ids=torch.arange(len(configs)),
            parameters=parameters,
            constants={name: self.options.convert(value) for name, value in constants.items()},
            optimizer_state=init_optimizer_state(self.config.parts.optimizer.name, parameters),
            optimizer_settings={path: values.to(self.options.dtype)[:, None] for path, values in varying.items()},
            clipper_state=self.clipper.init(self.network.views(parameters)),
            clipper_settings=self.clipper.varying,
        )

    def _check_first_batch(self) -> None:
        """Check the stacked gradients of the first batch.

        Raises:
            StackingError: they are not those of the network alone.
        """
        self.batches.start_epoch(0)
        learner, batch = self._learner(self.replicas[0]), self._batch(0)
        check_stacking(self.network, learner, self.state.parameters, self.state.constants, batch)


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for later allocations; nothing changes on other systems.

    By default it returns the activations of all replicas to the system after each batch, and gets them back page by
    page, each filled with zeros: that takes as long as computing them.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(TRIM_THRESHOLD, KEPT_MEMORY)
        if not libc.mallopt(MMAP_THRESHOLD, KEPT_MEMORY):
            libc.mallopt(MMAP_THRESHOLD, MMAP_LIMIT)


def _max_abs(batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the largest |element| of each replica's inputs and targets, ``[2, replicas]``.

    NaN unless both are floating-point tensors.
    """
    if not all(tensor.is_floating_point() for tensor in batch):
        return torch.full((2, len(batch[0])), torch.nan, device=batch[0].device)
    return torch.stack([tensor.flatten(1).abs().amax(dim=1) for tensor in batch])
