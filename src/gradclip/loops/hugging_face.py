"""A callback for the Trainer of Transformers that clips gradients, and records and logs their norms."""

import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gradclip import keys
from gradclip.clipping.base import Clipper
from gradclip.clipping.norm import Norm
from gradclip.errors import TrainerError
from gradclip.loops.watch import watch

STATE_FILE = "gradclip.pt"  # in a checkpoint of the Trainer


class WatchCallback(TrainerCallback):
    """Clip and record the gradients of each optimizer step of a Trainer, and log their norms through it.

    The Trainer clips before a callback can measure anything. Its own clipping is therefore disabled in each step, and
    by default the callback clips by the same norm instead, ``max_grad_norm`` of the arguments. Whenever the Trainer
    logs its loss, the metrics of that step are logged, too. The Trainer's checkpoints contain the record and the
    clipper's state, and a training run that resumes from one continues with both. The checkpoint must be in
    ``output_dir``, or ``resume_from_checkpoint`` of the arguments must name it.

    Args:
        trainer: the Trainer; add the callback to it with ``add_callback``.
        clipper: any :class:`~gradclip.clipping.base.Clipper`; None clips as the Trainer would.

    Attributes:
        watch: records the latest training; None before the first one.

    Raises:
        TrainerError: at the start of training, if the model is sharded by FSDP 1 or DeepSpeed, or another Trainer has
            the callback.

    Example:
        >>> # trainer.add_callback(WatchCallback(trainer, gradclip.ZScore()))
        >>> # after trainer.train(): callback.watch.record, print(callback.watch.explosion)
    """

    def __init__(self, trainer: Trainer, clipper: Clipper | None = None) -> None:
        self.trainer, self.clipper = trainer, clipper
        self.watch: watch | None = None
        self._max_grad_norm: float | None = None  # the Trainer's setting, while its clipping is disabled

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Start to watch the optimizer."""
        if self.trainer.state is not state:
            raise TrainerError("trainer: got a Trainer that does not have the callback; pass the one that has it")
        assert self.trainer.optimizer is not None
        self._end(args)  # a previous training run may have ended with an exception
        clipper = self.clipper
        if clipper is None and args.max_grad_norm:
            clipper = Norm(args.max_grad_norm)
        self.watch = watch(self.trainer.model_wrapped, self.trainer.optimizer, clipper, folder=args.output_dir or ".")
        if state.global_step:  # resumed from a checkpoint
            self._resume(args, state)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Disable the Trainer's clipping until the optimizer's step."""
        if self._max_grad_norm is None:
            self._max_grad_norm, args.max_grad_norm = args.max_grad_norm, 0.0

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Restore ``max_grad_norm`` of the arguments, which checkpoints store."""
        self._restore(args)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        """Add the record and the clipper's state to the checkpoint that the Trainer has saved."""
        file = _state_file(args, state)
        if self.watch is not None and state.is_world_process_zero and file.parent.is_dir():
            torch.save(self.watch.state_dict(), file)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Restore the optimizer and the arguments; the record is kept."""
        self._end(args)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **others: Any,
    ) -> None:
        """Log the metrics of the latest step beside the Trainer's loss."""
        if self.watch is not None and logs is not None and "loss" in logs:
            self.trainer.log({key: value for key, value in self.watch.metrics.items() if key != keys.LOSS_STEP})

    def _resume(self, args: TrainingArguments, state: TrainerState) -> None:
        assert self.watch is not None
        files = [_state_file(args, state)]
        if isinstance(args.resume_from_checkpoint, str):
            files.insert(0, Path(args.resume_from_checkpoint) / STATE_FILE)
        file = next((file for file in files if file.exists()), None)
        if file is not None:
            self.watch.load_state_dict(torch.load(file, weights_only=True))
            return
        hint = "if the checkpoint has one, name it in TrainingArguments(resume_from_checkpoint=...)"
        text = f"WatchCallback: {files[0]} not found, so the record and the clipper start over; {hint}"
        warnings.warn(text, stacklevel=2)

    def _restore(self, args: TrainingArguments) -> None:
        if self._max_grad_norm is not None:
            args.max_grad_norm, self._max_grad_norm = self._max_grad_norm, None

    def _end(self, args: TrainingArguments) -> None:
        self._restore(args)
        if self.watch is not None:
            self.watch.close()


def _state_file(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / STATE_FILE
