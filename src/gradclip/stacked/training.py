"""Training of all replicas together. Read :meth:`StackedTraining.run` first."""

import copy
import ctypes
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from gradclip.arrays import Booleans
from gradclip.models.module import SupervisedModule
from gradclip.models.optimization import learning_rate_factors
from gradclip.stacked.batches import stack_batches
from gradclip.stacked.clipping import StackedClipper
from gradclip.stacked.evaluation import StackedEvaluator
from gradclip.stacked.graphs import GraphedFunction
from gradclip.stacked.hidden_states import StackedHiddenStateRecorder
from gradclip.stacked.measurements import FLUSH_EVERY, StackedMeasurements, StackedStep
from gradclip.stacked.network import StackedNetwork, check_stacking
from gradclip.stacked.replicas import Replica
from gradclip.stacked.state import TensorOptions, TrainState
from gradclip.stacked.step import StackedOptimizerStep, initial_state
from gradclip.stacked.telemetry import StackedRecorder
from gradclip.telemetry.recorders import default_updates_every
from gradclip.telemetry.steps import StepIndex
from gradclip.tracking.records import now
from gradclip.training.modules import build_supervised_module
from gradclip.training.result import BOUNDED_LOSSES, Result

NEVER = np.iinfo(np.int64).max  # a step that no training reaches
MAX_ACTIVE_BEFORE_REMOVAL = 7 / 8  # ended replicas are removed when at most this fraction is active
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
KEPT_MEMORY = 2**30  # bytes
MMAP_LIMIT = 2**25  # bytes; the largest threshold that older versions of glibc accept


class StackedTraining:
    """Trainings that differ only in settings that can be stacked; each ends as its ordinary run would.

    Args:
        replicas: the training runs.
        device: the device to train on.
        progress: called with the number of optimizer steps, summed over replicas, that were taken since the last call,
            or that will not be taken because a replica ended.

    Attributes:
        steps: optimizer steps taken so far.
        end_time: time at which replicas last ended, in milliseconds since 1970.

    Raises:
        StackingError: the training runs cannot be stacked.
        ClippingError: a pattern matches no parameter.
    """

    def __init__(
        self, replicas: Sequence[Replica], device: torch.device, progress: Callable[[int], object] = lambda _: None
    ) -> None:
        self.replicas, self.progress = replicas, progress
        configs = [replica.config for replica in replicas]
        data = [replica.data for replica in replicas]
        self.config = configs[0]
        double = self.config.trainer.precision == "64-true"
        self.options = TensorOptions(device, torch.float64 if double else torch.float32)
        self.batches = stack_batches(data, self.options)
        self.steps = self.end_time = 0
        with self.options.default_dtype():
            networks = [replica.network for replica in replicas]
            self.network = StackedNetwork(self._learner(replicas[0]), networks, self.options)
            self.clipper = StackedClipper(configs, self.network)
            self.state = initial_state(configs, self.clipper)
            self.batches.start_epoch(0)
            first = self.batches.reader(self.state.ids)(self.batches.tensors(0))
            check_stacking(self.network, self._learner(replicas[0]), self.state, first)
        self.recorder = StackedRecorder(self.network.names, len(replicas), self.total_steps)
        self.hidden_recorder = StackedHiddenStateRecorder() if self.network.has_hidden_states else None
        self.evaluator = StackedEvaluator(data, self.network, self.config.trainer.max_epochs)
        self._updates_every = default_updates_every(sum(self.network.sizes))
        self._factors = np.array(learning_rate_factors(self.total_steps, **self.config.parts.schedule.model_dump()))
        self._diverged_step = np.full(len(replicas), NEVER)
        self._start_block(self.state)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of a training run that does not end early."""
        steps_per_epoch = -(-self.batches.batches_per_epoch // self.config.trainer.accumulate_grad_batches)
        return steps_per_epoch * self.config.trainer.max_epochs

    def run(self) -> Iterator[Iterator[tuple[int, Result]]]:
        """Train; yield the indices and results of the replicas that end at the same time, as soon as they end."""
        for epoch in range(self.config.trainer.max_epochs):
            for batches in self._batches_of_steps(epoch):
                self._step(epoch, batches)
                if self.steps % FLUSH_EVERY == 0:
                    self._flush()
                    yield self._end(self._diverged_rows(), epoch, is_complete=False)
                if not self._is_active.any():
                    return
            self.evaluator.evaluate(self.state, epoch)
            yield self._end(self._solved_rows(epoch), epoch)
            if not self._is_active.any():
                return
        yield self._end(self._is_active, epoch)

    def _batches_of_steps(self, epoch: int) -> Iterator[Sequence[int]]:
        """Yield, for each optimizer step of an epoch, the indices of the batches that it accumulates."""
        batches, size = self.batches.start_epoch(epoch), self.config.trainer.accumulate_grad_batches
        for start in range(0, len(batches), size):
            yield batches[start : start + size]

    def _step(self, epoch: int, batches: Sequence[int]) -> None:
        """Take an optimizer step of all replicas."""
        tensors = [tensor for index in batches for tensor in self.batches.tensors(index)]
        if self.hidden_recorder is not None and self.hidden_recorder.start_step():
            self._record_hidden_states(self.hidden_recorder, tensors[: self.batches.tensors_per_batch])
        step = StackedStep(*self._optimizer_step(*tensors))
        measures_update = self.steps % self._updates_every == 0  # the first step is measured
        self.steps += 1
        index = StepIndex(self.steps, epoch + 1, batches[-1])
        self.recorder.record_step(step, self.state.parameters, index, measures_update)
        self.progress(int(self._is_active.sum()))

    def _start_block(self, state: TrainState) -> None:
        """Train the replicas in a state from now on."""
        self.state, self._is_active = state, np.ones(len(state.ids), dtype=np.bool_)
        measurements = StackedMeasurements(
            state.parameters,
            self.network.sizes,
            multiplies=self.clipper.multiplies,
            changes_direction=self.clipper.changes_direction,
        )
        self.recorder.start_block(state.ids, measurements)
        factors = torch.from_numpy(self._factors).to(self.options.device, self.options.wide)
        step = StackedOptimizerStep(self.config, self.clipper, state, self.batches, factors)
        self._optimizer_step = GraphedFunction(step, self.options.device)

    def _flush(self) -> None:
        """Flush the recorder, and update the first diverged step of each replica."""
        if not self.recorder.pending:
            return
        diverged = self.recorder.flush()
        first = np.where(diverged.any(axis=0), self.steps - len(diverged) + 1 + diverged.argmax(axis=0), NEVER)
        ids = self.state.ids.numpy()
        self._diverged_step[ids] = np.minimum(self._diverged_step[ids], first)

    def _diverged_rows(self) -> Booleans:
        """Return whether each replica in the state ends because it diverged."""
        most = self.config.trainer.steps_after_divergence
        steps_since = self.steps - self._diverged_step[self.state.ids.numpy()]
        ends: Booleans = self._is_active & (steps_since >= (NEVER if most is None else most))
        return ends

    def _solved_rows(self, epoch: int) -> Booleans:
        """Return whether each replica in the state ends because it solved the problem."""
        if not self.config.trainer.stop_when_solved:
            return np.zeros_like(self._is_active)
        data = self.replicas[0].data
        scores = self.evaluator.scores(data.choosing_split, epoch)[self.state.ids.numpy()]
        worst = data.score_scale.solved_from
        assert worst is not None
        reaches = np.greater_equal if data.score_scale.score.higher_is_better else np.less_equal
        ends: Booleans = self._is_active & reaches(scores, worst)
        return ends

    def _end(self, ends: Booleans, epoch: int, is_complete: bool = True) -> Iterator[tuple[int, Result]]:
        """End the training of some replicas; return their indices and results, which are made one by one.

        Ended replicas stay in the tensors, unused, until an eighth of the replicas have ended, because removing them
        changes the shape of all tensors.

        Args:
            ends: whether each replica in the state ends.
            epoch: the current epoch, counted from 0.
            is_complete: whether the epoch is complete; otherwise, the replicas are scored now.
        """
        if not ends.any():
            return iter(())
        ended = self.state.select(torch.from_numpy(ends.nonzero()[0]))
        if not is_complete:
            self.evaluator.evaluate(ended, epoch)
        self._flush()
        self.end_time = now()
        self._is_active = self._is_active & ~ends
        if 0 < self._is_active.mean() <= MAX_ACTIVE_BEFORE_REMOVAL:
            self._start_block(self.state.select(torch.from_numpy(self._is_active.nonzero()[0])))
        self.progress(len(ended.ids) * (self.total_steps - self.steps))
        rows = zip(ended.ids.tolist(), ended.parameters.cpu(), strict=True)
        return ((replica, self._result(replica, parameters, epoch + 1)) for replica, parameters in rows)

    def _result(self, index: int, parameters: Tensor, epochs: int) -> Result:
        replica, record = self.replicas[index], self.recorder.record_of(index, self.steps)
        rates = replica.config.parts.optimizer.lr * self._factors[record.step - 1]
        return Result(
            data=replica.data,
            make_network=partial(self.network.trained_network, parameters, index),
            network_arguments=replica.network_arguments,
            record=replace(record, learning_rate=rates),
            score_scale=replica.data.score_scale,
            curves=self.evaluator.curves(index, epochs),
            hidden=self.hidden_recorder.record_of(index) if self.hidden_recorder else None,
            learning_rate=replica.config.parts.optimizer.lr,
            accumulated=replica.config.trainer.accumulate_grad_batches,
            loss_is_bounded=isinstance(self.network.learner.loss, BOUNDED_LOSSES),
        )

    def _record_hidden_states(self, recorder: StackedHiddenStateRecorder, tensors: Sequence[Tensor]) -> None:
        accumulated, ids = self.config.trainer.accumulate_grad_batches, self.state.ids
        found = self.network.hidden_gradients(self.state, self.batches.reader(ids)(tensors))
        derivatives = {layer: derivative / accumulated for layer, derivative in found.items()}
        recorder.record_step(self.steps + 1, ids.tolist(), derivatives)

    def _learner(self, replica: Replica) -> SupervisedModule:
        """Return a new module with a replica's initial weights."""
        learner = build_supervised_module(replica.config, copy.deepcopy(replica.network), replica.data)
        return learner.to(self.options.device, self.options.dtype)


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for later allocations; a no-op on other systems.

    By default, glibc returns the memory of all activations to the system after each batch, and gets it back page by
    page, filled with zeros. This takes as long as computing the activations.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(TRIM_THRESHOLD, KEPT_MEMORY)
        if not libc.mallopt(MMAP_THRESHOLD, KEPT_MEMORY):
            libc.mallopt(MMAP_THRESHOLD, MMAP_LIMIT)
