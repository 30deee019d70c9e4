"""Recording of an optimizer's steps, and detection of divergence."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import astuple, replace
from itertools import dropwhile
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from gradclip.diagnosis.explosion import Explosion, explain
from gradclip.diagnosis.remedy import Loop
from gradclip.loops.finite_state import FiniteState
from gradclip.loops.optimizers import (
    OptimizerParameters,
    call_before_use,
    check_gradients,
    foreign_hooks,
    group_rates,
    uncompiled,
)
from gradclip.telemetry.batches import merge_extremes
from gradclip.telemetry.divergence import LOST_UPDATES, Divergence
from gradclip.telemetry.record import GradientRecord
from gradclip.telemetry.record_store import RecordStore
from gradclip.telemetry.recorders import default_updates_every, make_recorder
from gradclip.telemetry.steps import Effect, StepIndex


class OptimizerMonitor:
    """Record the steps of one optimizer, with the parameters that it has at each step.

    A loop first calls :meth:`hook`. At each step, it calls :meth:`record_gradients` before clipping and
    :meth:`record_step` after the optimizer's step. If a step evaluates its gradients several times, the loop calls
    :meth:`record_gradients` after each evaluation, and the last call counts. At intervals the loop calls :meth:`flush`.
    It calls :meth:`discard_step` for a step that was interrupted.

    Args:
        module: the module that is trained, which has the names of the parameters, and the buffers.
        optimizer: the optimizer.
        effect: what clipping does to the gradients; ignored if the optimizer has hooks from other code.
        updates_every: optimizer steps between two measurements of the weights' updates; None is 1, or 10 in a network
            with more than a million parameters.

    Attributes:
        finite_state: checks values that gradients do not show.
        diverged_step: the first step that diverged, up to the last flush; None if there is none.
        steps: number of counted steps, including those before a resume.
        first_clipped: the first gradient of the open step and its version after clipping, set by a watch.
    """

    def __init__(
        self, module: nn.Module, optimizer: Optimizer, effect: Effect, updates_every: int | None = None
    ) -> None:
        self.optimizer = optimizer
        self.finite_state = FiniteState(module)
        self.diverged_step: int | None = None
        self._module = module
        self._effect = effect
        self._updates_every = updates_every
        self._parameters = OptimizerParameters(module)
        self._named: dict[str, nn.Parameter] = {}
        self._are_trained: list[bool] = []
        self._are_changed_later = False  # whether hooks of the optimizer that run after ours may change gradients
        self._recorder = make_recorder([], effect)
        self._store = RecordStore()
        self._latest: GradientRecord | None = None  # the block of the last flush
        self.steps = 0
        self.first_clipped: tuple[Tensor | None, int | None] = (None, 0)
        self._scaler_skipped = 0  # number of the latest steps in a row
        self._interval = 1  # steps between two measurements of updates
        self._rates: list[tuple[dict[str, int], list[Any]]] = []  # by step: group of each parameter, rate of each group
        self._learning_rates: dict[str, float] = {}  # by parameter, up to the divergence
        self._found_inf: Tensor | None = None  # a loss scaler's flag for a fused optimizer: not 0 to skip the step
        self._handles: list[RemovableHandle] = []
        self._batches: list[list[Tensor]] = []  # extremes of the batches since the last step

    @property
    def record(self) -> GradientRecord:
        """The record of all steps up to the last flush."""
        recorded = dict.fromkeys(self._store.names or self._recorder.names)
        in_order = [name for name, _ in self._module.named_parameters() if name in recorded]
        return self._store.read((*dict.fromkeys([*in_order, *recorded]),))

    def explain(self, loop: Loop) -> Explosion | None:
        """Return the explosion report, with remedies for this kind of loop; None if training did not diverge."""
        return explain(self.record, self._learning_rates, self.finite_state.found, loop)

    @property
    def has_diverged(self) -> bool:
        """Whether a step diverged, another checked value is not finite, or a loss scaler skips every update.

        It covers the steps up to the last flush.
        """
        found = self.diverged_step is not None or self.finite_state.found is not None
        return found or self._scaler_skipped >= LOST_UPDATES

    @property
    def metrics(self) -> dict[str, float]:
        """The finite metrics of the latest step at the last flush."""
        curves = {} if self._latest is None else self._latest.metrics
        return {key: float(values[-1]) for key, values in curves.items() if np.isfinite(values[-1])}

    @property
    def is_open(self) -> bool:
        """Whether a step is open: its gradients were measured, but it is not counted yet."""
        return self._recorder.is_open

    @property
    def is_updated(self) -> bool:
        """Whether the optimizer has taken the open step."""
        return self._recorder.is_updated

    def read_parameters(self) -> dict[str, nn.Parameter]:
        """Return all parameters of the optimizer by name; the same object as before if they have not changed."""
        return self._parameters.read(self.optimizer)

    def hook(self, optimizer: Optimizer, measures_clipped: bool = True) -> None:
        """Register hooks that measure the gradients that the optimizer uses, and the weights after each step.

        Args:
            optimizer: the optimizer that steps from now on.
            measures_clipped: whether the hooks measure the gradients; if not, the loop calls :meth:`record_clipped`.
        """
        if optimizer is self.optimizer and self._handles:
            return
        self.unhook()
        self.optimizer = optimizer
        with suppress(AttributeError):  # an optimizer may not have called its base class's constructor
            if measures_clipped:
                self._handles.append(call_before_use(optimizer, self.record_clipped))
            self._handles.append(optimizer.register_step_post_hook(uncompiled(self._record_update)))

    def unhook(self) -> None:
        """Remove the hooks from the optimizer."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def record_gradients(self, flush: Callable[[], object], are_known: bool = True) -> None:
        """Measure the gradients before clipping.

        Args:
            flush: called first if the parameters are no longer those of the latest steps.
            are_known: whether the gradients are those of the step; if not, their norms are NaN.

        Raises:
            TrainerError: a gradient is sparse, or the parameters are on several devices.
        """
        if not self.is_open:
            self._follow(flush)
        self._recorder.record_gradients(self.steps % self._interval == 0, are_known)
        self._latest_rates = (self._parameters.group_of, group_rates(self.optimizer))

    def record_clipped(self) -> None:
        """Measure the gradients after clipping, unless later hooks may change them: then after the step."""
        if self.is_open and not self._are_changed_later:
            self._recorder.record_clipped()

    def _record_update(self, *arguments: object) -> None:
        """Measure the weights after the step."""
        if self.is_open:
            self._recorder.record_update()
            self._found_inf = getattr(self.optimizer, "found_inf", None)

    def add_batch(self, extremes: list[Tensor]) -> None:
        """Add the extremes of a batch, as from ``batches.batch_extremes``, to the open step."""
        self._batches.append(extremes)

    def forget_batches(self) -> None:
        """Discard the batches of the step, because not all of them are known."""
        self._batches = []

    def record_step(self, index: StepIndex, loss: Tensor | None, skipped: bool = False, scaled: bool = False) -> None:
        """Count the step whose gradients were measured.

        Args:
            index: position of the step in the training run.
            loss: the step's training loss, a scalar; None if it is not known.
            skipped: whether the update is known to be skipped; without any gradient it always is.
            scaled: whether a loss scaler skips the update if a gradient is not finite.
        """
        scaler_skipped: bool | Tensor | None = None if scaled else False
        if self.is_updated:  # a fused optimizer may have skipped the step after all, because of an infinity
            scaler_skipped = False if self._found_inf is None else self._found_inf
        extremes = merge_extremes(self._batches) if self._batches else []
        self._recorder.record_step(index, loss, extremes, skipped, scaler_skipped)
        self._rates.append(self._latest_rates)
        self._batches = []
        self.steps += 1

    def discard_step(self) -> None:
        """Discard a step that was interrupted."""
        self._recorder.discard_step()

    def flush(
        self, folder: Path, reduce: Callable[[GradientRecord], GradientRecord] = lambda block: block
    ) -> GradientRecord | None:
        """Move the pending steps into the record, and return them; None if there are none.

        Args:
            folder: where the record stores its files once it exceeds its memory limit.
            reduce: merges the measurements of several processes for the same steps.
        """
        if not self._recorder.pending:
            return None
        rates, self._rates = self._rates, []
        known = [[float(rate) for rate in of_groups if rate is not None] for _, of_groups in rates]
        highest = np.array([max(of_groups, default=np.nan) for of_groups in known])
        block = replace(reduce(self._recorder.flush()), learning_rate=highest)
        self._store.append(block, folder)
        self._latest = block
        used = np.flatnonzero(~block.scaler_skipped).tolist()
        self._scaler_skipped = len(block.step) - 1 - used[-1] if used else self._scaler_skipped + len(block.step)
        if self.diverged_step is None:
            self._find_divergence(block, rates)
        return block

    def state(self) -> dict[str, Any]:
        """Return the record and the progress of the monitor, for a checkpoint."""
        found = self.finite_state.found
        return {
            **self._store.state(),
            "rates": dict(self._learning_rates),
            "elsewhere": None if found is None else [*astuple(found[0]), found[1]],
            "steps": self.steps,
            "first_bad_step": self.diverged_step,
            "scaler_skipped": self._scaler_skipped,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self._store.restore(state)
        self.steps, self.diverged_step, self._learning_rates = state["steps"], state["first_bad_step"], state["rates"]
        self._scaler_skipped = state["scaler_skipped"]
        if state["elsewhere"] is not None:
            *place, kind = state["elsewhere"]
            self.finite_state.found = Divergence(*place), kind

    def _follow(self, flush: Callable[[], object]) -> None:
        """Update the recorder if the parameters that the optimizer trains have changed; frozen ones are left out."""
        named = self.read_parameters()
        are_trained = [parameter.requires_grad or parameter.grad is not None for parameter in named.values()]
        another_clips, are_foreign = CLIPPING.get(id(self.optimizer), self) is not self, foreign_hooks(self.optimizer)
        self._are_changed_later = another_clips or any(dropwhile(bool, are_foreign))  # the first ones run before ours
        effect = Effect.ANY if another_clips or any(are_foreign) else self._effect
        is_same = effect is self._recorder.effect
        if is_same and named is self._named and are_trained == self._are_trained:
            return
        flush()
        pairs = zip(named.items(), are_trained, strict=True)
        trained = [(name, parameter) for (name, parameter), is_trained in pairs if is_trained and parameter.numel()]
        check_gradients(dict(trained))
        self._named, self._are_trained = named, are_trained
        self._recorder = make_recorder(trained, effect)
        size = sum(parameter.numel() for _, parameter in trained)
        self._interval = self._updates_every or default_updates_every(size)

    def _find_divergence(self, block: GradientRecord, rates: Sequence[tuple[dict[str, int], list[Any]]]) -> None:
        """Check whether a block diverged, and store the learning rates of that step, or else of the last step."""
        self.finite_state.check_buffers(int(block.step[-1]), int(block.epoch[-1]))
        row = len(block.step) - 1
        if block.divergence is not None:
            self.diverged_step = block.divergence.step
            row = int(np.searchsorted(block.step, self.diverged_step))
        else:  # the optimizer's state is the one after the block's last step
            trained = dict(zip(self._recorder.names, self._recorder.parameters, strict=True))
            self.finite_state.check_optimizer(self.optimizer, trained, block)
        group_of, of_groups = rates[row]
        numbers = [np.nan if rate is None else float(rate) for rate in of_groups]
        self._learning_rates = {name: numbers[group] for name, group in group_of.items()}


CLIPPING: WeakValueDictionary[int, OptimizerMonitor] = WeakValueDictionary()
"""The monitors of the watches that clip, by ``id`` of the optimizer."""
