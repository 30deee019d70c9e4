"""What stands between the monitor and the optimizer, and may change gradients there."""

from pytorch_lightning import Callback, LightningModule, Trainer

from gradclip.callbacks.clip_gradients import ClipGradients
from gradclip.callbacks.trainer_checks import callbacks_of, overrides
from gradclip.errors import TrainerError
from gradclip.loops.in_place import multiplies_all


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

    That is value clipping, a clipper that does, or code of the user's own, which may do anything.

    Args:
        trainer: its clipping and its callbacks are looked at.
        module: its methods are looked at.
        monitor: what comes before it among the callbacks is left out.
    """
    if trainer.gradient_clip_val is not None and trainer.gradient_clip_algorithm == "value":
        return True
    after = _callbacks_after(trainer, monitor)
    clippers = [callback.clipper for callback in after if isinstance(callback, ClipGradients)]
    plugin = trainer.precision_plugin
    owners: list[tuple[str, tuple[object, ...]]] = [
        ("on_before_optimizer_step", (module, *after)),
        ("configure_gradient_clipping", (module,)),
        ("clip_gradients", (module, plugin)),
        ("clip_grad_by_norm", (plugin,)),
        ("optimizer_step", (module, plugin, trainer.strategy)),
    ]
    return any(clipper.changes_direction for clipper in clippers) or any(
        overrides(owner, method) for method, components in owners for owner in components
    )


def multiplies_once(trainer: Trainer, monitor: Callback) -> bool:
    """Return whether what clips after the monitor multiplies all gradients once, if it does not change the direction.

    Args:
        trainer: its clipping and its callbacks are looked at.
        monitor: what comes before it among the callbacks is left out.
    """
    clips = [callback for callback in _callbacks_after(trainer, monitor) if isinstance(callback, ClipGradients)]
    if (trainer.gradient_clip_val or 0) > 0:  # Lightning leaves out a threshold of 0
        return not clips
    return len(clips) == 1 and multiplies_all(clips[0].clipper)


def _callbacks_after(trainer: Trainer, monitor: Callback) -> list[Callback]:
    callbacks = callbacks_of(trainer)
    return callbacks[callbacks.index(monitor) + 1 :]
