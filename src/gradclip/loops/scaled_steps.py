"""Optimizer steps that a loss scaler takes or skips, and the check that gradients are unscaled."""

from collections.abc import Callable
from typing import Any

from torch.amp import GradScaler
from torch.optim import Optimizer

from gradclip.errors import TrainerError
from gradclip.loops.optimizers import unscale
from gradclip.loops.unwrapping import unwrapped_optimizer


class ScaledSteps:
    """The steps of one optimizer by a loss scaler: gradients are unscaled first, and skipped steps are reported.

    Args:
        scaler: the loss scaler; its ``step`` is replaced until :meth:`detach`.
        optimizer: the optimizer, without wrappers.
        on_skipped: called after a step in which the scaler did not call the optimizer.
    """

    def __init__(self, scaler: GradScaler, optimizer: Optimizer, on_skipped: Callable[[], None]) -> None:
        self.scaler, self.optimizer = scaler, optimizer
        self._on_skipped = on_skipped
        self._is_attached, self._in_step, self._is_taken = True, False, False
        self._scaler_step = scaler.step
        scaler.step = self._step  # type: ignore[method-assign]  # it may skip the optimizer's step

    def detach(self) -> None:
        """Restore the scaler's own ``step``, unless other code has replaced it since."""
        self._is_attached = False
        if vars(self.scaler).get("step") == self._step:
            self.scaler.step = self._scaler_step  # type: ignore[method-assign]

    def check(self) -> None:
        """Check that the scaler calls the optimizer's step.

        Raises:
            TrainerError: the training loop calls it.
        """
        if not self._in_step:
            raise TrainerError("scaler: got a scaler that did not step the optimizer; call scaler.step(optimizer)")
        self._is_taken = True

    def _step(self, optimizer: Optimizer, *arguments: Any, **keywords: Any) -> Any:
        if unwrapped_optimizer(optimizer) is not self.optimizer or not self._is_attached:
            return self._scaler_step(optimizer, *arguments, **keywords)
        unscale(self.scaler, optimizer)
        self._in_step, self._is_taken = True, False
        try:
            result = self._scaler_step(optimizer, *arguments, **keywords)
        finally:
            self._in_step = False
        if not self._is_taken:
            self._on_skipped()
        return result


def check_unscaled(optimizer: Optimizer, keywords: dict[str, Any]) -> None:
    """Check that gradients are not multiplied by a loss scale, if no scaler is known.

    Args:
        optimizer: the optimizer that steps.
        keywords: keyword arguments of its step.

    Raises:
        TrainerError: they are still scaled.
    """
    if getattr(optimizer, "grad_scale", None) is not None or "grad_scaler" in keywords:
        name = type(optimizer).__name__
        raise TrainerError(f"scaler: got None, but the gradients of {name} are still scaled; pass scaler=scaler")
