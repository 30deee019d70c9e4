"""What stands between the monitor and the optimizer, and may change gradients there."""

from pytorch_lightning import Callback, LightningModule, Trainer

from gradclip.callbacks.clip_gradients import ClipGradients
from gradclip.callbacks.trainer_checks import callbacks_of, overrides
from gradclip.clipping.base import Rescaler
from gradclip.errors import TrainerError


def check_order(trainer: Trainer, monitor: Callback) -> None:
    """Check that the monitor comes before what clips.

    Raises:
        TrainerError: a ClipGradients comes first.
    """
    callbacks = callbacks_of(trainer)
    before = callbacks[: callbacks.index(monitor)]
    if any(isinstance(callback, ClipGradients) for callback in before):
        raise TrainerError("callbacks: ClipGradients comes before GradientMonitor; put the monitor first")


def may_change_direction(trainer: Trainer, module: LightningModule, monitor: Callback) -> bool:
    """Return whether something between the monitor and the optimizer may change the direction of the gradient.

    That is value clipping, a clipper that does, or a hook of the user's own, which may do anything.

    Args:
        trainer: its clipping and its callbacks are looked at.
        module: its hooks are looked at.
        monitor: what comes before it among the callbacks is left out.
    """
    if trainer.gradient_clip_val is not None and trainer.gradient_clip_algorithm == "value":
        return True
    after = _callbacks_after(trainer, monitor)
    clippers = [callback.clipper for callback in after if isinstance(callback, ClipGradients)]
    return (
        any(clipper.changes_direction for clipper in clippers)
        or any(overrides(component, "on_before_optimizer_step") for component in (module, *after))
        or overrides(module, "configure_gradient_clipping")
    )


def multiplies_once(trainer: Trainer, monitor: Callback) -> bool:
    """Return whether what clips after the monitor multiplies all gradients once, if it does not change the direction.

    Args:
        trainer: its clipping and its callbacks are looked at.
        monitor: what comes before it among the callbacks is left out.
    """
    clips = [callback for callback in _callbacks_after(trainer, monitor) if isinstance(callback, ClipGradients)]
    if trainer.gradient_clip_val is not None:
        return not clips
    return len(clips) == 1 and isinstance(clips[0].clipper, Rescaler)


def _callbacks_after(trainer: Trainer, monitor: Callback) -> list[Callback]:
    callbacks = callbacks_of(trainer)
    return callbacks[callbacks.index(monitor) + 1 :]
