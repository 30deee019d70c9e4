"""Clipping and monitoring of an optimizer in a plain torch loop, with one line of code."""

import warnings
from functools import wraps
from inspect import unwrap
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from gradclip.clipping.base import Clipper, check_clipper
from gradclip.diagnosis.conditions import DEFAULT_EPSILON
from gradclip.diagnosis.diagnose import Diagnosis, diagnose
from gradclip.diagnosis.explosion import Explosion
from gradclip.errors import TrainerError
from gradclip.loops.in_place import InPlaceClipper, effect_of
from gradclip.loops.monitor import CLIPPING, OptimizerMonitor
from gradclip.loops.optimizers import Closure, closure_of, replace_closure, uncompiled
from gradclip.loops.scaled_steps import ScaledSteps, check_unscaled
from gradclip.loops.unwrapping import check_types, check_whole_gradients, unwrapped_model, unwrapped_optimizer
from gradclip.ranges import COUNT
from gradclip.telemetry.batches import batch_loss
from gradclip.telemetry.record import GradientRecord
from gradclip.telemetry.rescaled import version_of
from gradclip.telemetry.steps import StepIndex

FLUSH_EVERY = 20  # optimizer steps
Loss = TypeVar("Loss", Tensor, float)


class watch:  # noqa: N801  # called like a function, as torch.no_grad is
    """Measure and clip the gradients at each step of an optimizer, until :meth:`close` or the end of a ``with`` block.

    The training code does not change: hooks do the work when the optimizer steps. Gradients are measured before and
    after clipping, and weights after the step. If a step has a closure, each evaluation of the closure is measured and
    clipped, and the record has the last one. The record treats the whole loop as one epoch, and each step as one batch.

    Args:
        model: the module that is trained, which has the names of the parameters. The model and the optimizer may be
            wrapped by torch, Accelerate or Fabric.
        optimizer: the optimizer. Each optimizer needs its own watch.
        clipper: any :class:`~gradclip.clipping.base.Clipper`; None only measures.
        scaler: the loss scaler that calls the optimizer's step, if there is one; not needed with Accelerate, whose
            optimizers have it.
        flush_every: optimizer steps between two transfers of measurements from the device.
        updates_every: optimizer steps between two measurements of the weights' updates, which need a copy of the
            weights; None is 1, or 10 in a network with more than a million parameters.
        folder: where a record larger than eight megabytes stores its files.

    Raises:
        ClippingError: ``clipper`` is not a clipper.
        TrainerError: another argument has the wrong type or value, the model is sharded by FSDP 1 or DeepSpeed, or
            another watch clips its gradients; at a step, if a gradient is sparse or still scaled, or the parameters
            are on several devices.

    Example:
        >>> import torch, gradclip
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with gradclip.watch(model, optimizer, clipper=gradclip.Norm(1.0)) as watch:
        ...     for _ in range(3):
        ...         optimizer.zero_grad()
        ...         watch.loss(model(torch.ones(4, 2)).square().sum() + 100).backward()
        ...         optimizer.step()
        >>> watch.record.step, watch.diverged
        (array([1, 2, 3]), False)
        >>> bool((watch.record.norm_clipped < 1.000001).all())
        True
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        clipper: Clipper | None = None,
        scaler: GradScaler | None = None,
        *,
        flush_every: int = FLUSH_EVERY,
        updates_every: int | None = None,
        folder: str | Path = ".",
    ) -> None:
        self.flush_every = COUNT.check("flush_every", flush_every, TrainerError)
        updates_every = COUNT.check_optional("updates_every", updates_every, TrainerError)
        if not isinstance(folder, str | Path):
            raise TrainerError(f"folder: got {folder!r}; must be the path of a folder")
        self.optimizer, self.folder = unwrapped_optimizer(optimizer), Path(folder)
        check_types(model, self.optimizer, scaler)
        check_whole_gradients(model)
        model = unwrapped_model(model)
        scaler = scaler or getattr(optimizer, "scaler", None)
        self._clipper = None
        if clipper is not None:
            check_clipper("clipper", clipper)
            if id(self.optimizer) in CLIPPING:
                got = f"got {type(self.optimizer).__name__}, which another watch clips"
                raise TrainerError(f"optimizer: {got}; close that watch, or combine the clippers by gradclip.Chain")
            self._clipper = InPlaceClipper(clipper, model)
        self._monitor = OptimizerMonitor(model, self.optimizer, effect_of(clipper), updates_every)
        if clipper is not None:
            CLIPPING[id(self.optimizer)] = self._monitor
        self._monitor.hook(self.optimizer, measures_clipped=False)
        self._losses: list[Tensor] = []  # mean of each batch since the last step
        self._depth = 0  # number of nested steps
        self._closure: Closure | None = None  # the wrapped closure of the latest step
        self._handles = [
            self.optimizer.register_step_pre_hook(uncompiled(self._before_step)),
            self.optimizer.register_step_post_hook(uncompiled(self._after_step)),
        ]
        self._scaled_steps = None
        if isinstance(scaler, GradScaler) and scaler.is_enabled():
            self._scaled_steps = ScaledSteps(scaler, self.optimizer, self._record_skipped_step)

    @property
    def record(self) -> GradientRecord:
        """The record of all steps so far."""
        self.flush()
        return self._monitor.record

    @property
    def explosion(self) -> Explosion | None:
        """The explosion report, for ``print`` or ``.to_json()``; None if training did not diverge."""
        self.flush()
        return self._monitor.explain("watch")

    def diagnose(self) -> Diagnosis:
        """Return findings from the gradients and remedies to try, for ``print`` or ``.to_json()``."""
        record, epsilon = self.record, self.optimizer.defaults.get("eps", DEFAULT_EPSILON)
        return diagnose(
            record,
            optimizer=type(self.optimizer).__name__,
            learning_rate=float(record.learning_rate[0]) if len(record.step) else np.nan,
            epsilon=epsilon if isinstance(epsilon, float) else np.nan,  # Adafactor has a pair of other constants
            elements=sum(parameter.numel() for parameter in self._monitor.read_parameters().values()),
            loop="watch",
        )

    @property
    def diverged(self) -> bool:
        """Whether training diverged; detected within ``flush_every`` steps, so that no step waits for the device."""
        return self._monitor.has_diverged

    @property
    def clip_fraction(self) -> float:
        """Fraction of the steps with a finite gradient in which clipping changed the norm; NaN if there are none."""
        return self.record.clip_fraction

    @property
    def metrics(self) -> dict[str, float]:
        """The finite metrics of the latest step, for any logger, by the names in :mod:`gradclip.keys`."""
        self.flush()
        return self._monitor.metrics

    def loss(self, loss: Loss) -> Loss:
        """Add the loss of a batch to the record; call it before the step.

        Losses of an evaluation are ignored: a loss counts only if gradients are enabled, as outside ``torch.no_grad``.

        Returns:
            The same loss, so that ``watch.loss(loss).backward()`` works.
        """
        if torch.is_grad_enabled():
            self._losses.append(batch_loss(loss))
        return loss

    def flush(self) -> None:
        """Move the measurements from the device into the record."""
        self._monitor.flush(self.folder)

    def close(self) -> None:
        """Remove the hooks from the optimizer and the scaler; the record is kept. Warn if there was no step."""
        if self._handles and not self._monitor.steps:
            name = type(self.optimizer).__name__
            text = f"watch: {name} took no step, so nothing was clipped or recorded; pass the optimizer that steps"
            warnings.warn(text, stacklevel=2)
        self._detach()

    def _detach(self) -> None:
        if self._clipper is not None and self._handles:
            CLIPPING.pop(id(self.optimizer), None)
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self._scaled_steps is not None:
            self._scaled_steps.detach()
        self._monitor.unhook()
        self._monitor.discard_step()
        self.flush()

    def state_dict(self) -> dict[str, Any]:
        """Return the record and the clipper's state; call it between two steps."""
        self.flush()
        clipper = None if self._clipper is None else self._clipper.state_dict()
        return {"monitor": self._monitor.state(), "clipper": clipper}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the record and the clipper's state of an earlier training run.

        Raises:
            TrainerError: the argument does not come from :meth:`state_dict`.
        """
        if not (isinstance(state, dict) and state.keys() == {"monitor", "clipper"}):
            raise TrainerError(f"state: got {type(state).__name__} of other content; must be a watch's state_dict()")
        self._monitor.restore(state["monitor"])
        if self._clipper is not None:
            self._clipper.load_state_dict(state["clipper"])

    def __enter__(self) -> "watch":
        if not self._handles:
            raise TrainerError("watch: got a closed watch; create a new one")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self._detach()
        except Exception as own:
            error.add_note(f"gradclip.watch could not record the latest steps: {type(own).__name__}: {own}")

    def _before_step(
        self, optimizer: Optimizer, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Measure and clip, or wrap the step's closure so that it does so after it has evaluated the gradients."""
        closure = closure_of(arguments, keywords)
        if self._is_within_step(closure):
            self._depth += 1
            return None
        if self._scaled_steps is not None:
            self._scaled_steps.check()
        check_unscaled(self.optimizer, keywords)
        self._monitor.discard_step()  # a step that was interrupted
        self._depth, self._closure = 1, None
        if closure is None:
            self._measure_and_clip()
            return None
        self._closure = self._wrap(closure)
        return replace_closure(arguments, keywords, self._closure)

    def _is_within_step(self, closure: Closure | None) -> bool:
        """Return whether a step has already begun: a subclass's step calls its base class's, and both run the hooks."""
        if closure is not None:
            return unwrap(closure, stop=lambda wrapper: wrapper is self._closure) is self._closure
        if not self._monitor.is_open:
            return False
        latest, version = CLIPPING.get(id(self.optimizer), self._monitor).first_clipped
        gradient, version_now = self._first_gradient()
        return gradient is latest and version_now == version

    def _wrap(self, closure: Closure) -> Closure:
        given = list(self._losses)

        @wraps(closure)
        def evaluate() -> Any:
            loss = closure()
            self._measure_and_clip()
            if not given and isinstance(loss, Tensor | float):
                self._losses = [batch_loss(loss)]  # only the last evaluation counts
            return loss

        return evaluate

    def _measure_and_clip(self) -> None:
        self._monitor.record_gradients(self.flush)
        if self._clipper is not None:
            self._clipper.clip(self._monitor.read_parameters())
        self._monitor.record_clipped()
        self._monitor.first_clipped = self._first_gradient()

    def _after_step(self, *arguments: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._record_step()

    def _first_gradient(self) -> tuple[Tensor | None, int | None]:
        """Return the first gradient, and how often it has been changed in place."""
        first = next((p.grad for p in self._monitor.read_parameters().values() if p.grad is not None), None)
        return first, version_of(first)

    def _record_step(self) -> None:
        if not self._monitor.is_open:
            return
        step = self._monitor.steps + 1
        loss = torch.stack(self._losses).mean() if self._losses else None
        self._monitor.record_step(StepIndex(step, 1, step - 1), loss, scaled=self._scaled_steps is not None)
        self._losses, self._monitor.first_clipped, self._closure = [], (None, 0), None
        if step % self.flush_every == 0:
            self.flush()

    def _record_skipped_step(self) -> None:
        self._monitor.discard_step()
        self._monitor.record_gradients(self.flush)
        self._record_step()
