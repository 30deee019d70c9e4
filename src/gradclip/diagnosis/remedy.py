"""Remedies, and how to apply them: by overrides of our command, in Lightning, in plain torch, in a watched loop."""

import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

Loop = Literal["command", "lightning", "torch", "watch"]  # what trains: our command, a Trainer, the user's own loop


@dataclass(frozen=True)
class How:
    """Instructions for a remedy, in several forms; a form is empty if there is nothing to type.

    ``how + other`` applies both.

    Attributes:
        command: overrides of our command.
        lightning: lines of code for a Lightning Trainer and its module.
        torch: lines of code for a plain torch loop.
        watch: lines of code for a loop with a ``gradclip.watch``; empty if they are those for a plain loop.

    Example:
        >>> (clip_norm("2") + COSINE_DECAY).command
        ('clip=norm', 'clip.value=2', 'schedule=warmup_cosine')
    """

    command: tuple[str, ...] = ()
    lightning: tuple[str, ...] = ()
    torch: tuple[str, ...] = ()
    watch: tuple[str, ...] = ()

    def __add__(self, other: "How") -> "How":
        return How(**{loop: self.in_loop(loop) + other.in_loop(loop) for loop in get_args(Loop)})

    def in_loop(self, loop: Loop) -> tuple[str, ...]:
        """Return the instructions for one kind of training loop."""
        form: tuple[str, ...] = getattr(self, loop)
        return form or self.torch if loop == "watch" else form


@dataclass(frozen=True)
class Remedy:
    """A change to try, with its reason.

    Attributes:
        what: the change, in a few words.
        why: the reason, with numbers.
        how: how to apply it.
    """

    what: str
    why: str
    how: How = How()

    @property
    def changes(self) -> tuple[str, ...]:
        """The overrides of our command that apply the remedy."""
        return self.how.command

    def changes_any(self, groups: Collection[str]) -> bool:
        """Return whether an override changes a setting in one of these groups, such as ``optimizer``."""
        return any(re.split("[.=]", change.lstrip("+~"))[0] in groups for change in self.changes)

    @property
    def has_one_setting(self) -> bool:
        """Whether a command can start the remedy as a single training run, rather than as several thresholds."""
        return bool(self.changes) and not any("," in change for change in self.changes)

    @property
    def overrides(self) -> str:
        """The overrides as typed, with ``-m`` for several thresholds; ``what`` if there are no overrides."""
        several = ["-m"] if self.changes and not self.has_one_setting else []
        return " ".join([*several, *self.changes]) or self.what

    def lines(self, loop: Loop) -> list[str]:
        """Return the remedy with its reason, and what to type for this kind of training loop, as lines of a list."""
        code = self.how.in_loop(loop)
        typed = (shlex.join(code),) if loop == "command" and code else code
        return [f"  {self.what}: {self.why}", *(f"    {line}" for line in typed)]


def _watched(clipper: str, comment: str = "") -> tuple[str, ...]:
    return (f"watch = gradclip.watch(model, optimizer, clipper={clipper}){comment}",)


def clip_norm(threshold: str) -> How:
    """Clip by the global norm; several thresholds, separated by commas, are tried one after the other."""
    several = f"  # for max_norm in ({threshold.replace(',', ', ')})" if "," in threshold else ""
    value = "max_norm" if several else threshold
    return How(
        ("clip=norm", f"clip.value={threshold}"),
        (f"Trainer(gradient_clip_val={value}){several}",),
        (f"torch.nn.utils.clip_grad_norm_(model.parameters(), {value}){several}",),
        _watched(f"gradclip.Norm({value})", several),
    )


def clip_value(threshold: str) -> How:
    """Clip each element."""
    return How(
        ("clip=value", f"clip.value={threshold}"),
        (f'Trainer(gradient_clip_val={threshold}, gradient_clip_algorithm="value")',),
        (f"torch.nn.utils.clip_grad_value_(model.parameters(), {threshold})",),
        _watched(f"gradclip.Value({threshold})"),
    )


def clip_each_tensor(threshold: str) -> How:
    """Clip each tensor by its own norm."""
    return How(
        ("clip=parameter_norm", f"clip.value={threshold}"),
        (f"Trainer(callbacks=[gradclip.ClipGradients(gradclip.ParameterNorm({threshold}))])",),
        ("for parameter in model.parameters():", f"    torch.nn.utils.clip_grad_norm_(parameter, {threshold})"),
        _watched(f"gradclip.ParameterNorm({threshold})"),
    )


def clip_by(clipper: str, value: str) -> How:
    """Clip by a class of gradclip that neither Lightning nor torch provides, such as ``Auto``."""
    return How(
        (f"clip={clipper.lower()}", f"clip.value={value}"),
        (f"Trainer(callbacks=[gradclip.ClipGradients(gradclip.{clipper}({value}))])",),
        _watched(f"gradclip.{clipper}({value})"),
    )


def optimizer_argument(name: str, value: str) -> How:
    """Set an argument of the optimizer: ``lr``, or ``eps``, which Adam adds to its denominator."""
    code = f"{name}={value}  # argument of the optimizer"
    return How((f"optimizer.{name}={value}",), (f"{code}, in configure_optimizers()",), (code,))


def scale_rate(factor: str) -> How:
    """Multiply the learning rate, whose value is not known, by a factor."""
    code = ("for group in optimizer.param_groups:", f'    group["lr"] *= {factor}')
    return How((), code, code)


def epochs(count: int) -> How:
    """Train for a number of epochs."""
    return How((f"trainer.max_epochs={count}",), (f"Trainer(max_epochs={count})",), (f"for epoch in range({count}):",))


def _same_code(override: str, code: str) -> How:
    """Return a change whose code is the same in a LightningModule and in a plain loop."""
    return How((override,), (code,), (code,))


# Remedies that have no number to choose.
NO_CLIPPING = How(
    ("clip=none",),
    ("Trainer(gradient_clip_val=None)",),
    ("# remove the call of clip_grad_norm_",),
    ("watch = gradclip.watch(model, optimizer)  # without a clipper",),
)
ADAM = How(  # at its authors' learning rate
    ("optimizer=adam",),
    ("optimizer = torch.optim.Adam(self.parameters())  # in configure_optimizers()",),
    ("optimizer = torch.optim.Adam(model.parameters())",),
)
COSINE_DECAY = How(
    ("schedule=warmup_cosine",),
    (
        "schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)",
        'lr_scheduler = {"scheduler": schedule, "interval": "step"}  # return it from configure_optimizers()',
    ),
    (
        "schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)",
        "schedule.step()  # after each optimizer.step()",
    ),
)
STANDARDIZED_TARGET = _same_code(
    "data.scale_target=standard", "target = (target - train_target.mean()) / train_target.std()"
)
HUBER_LOSS = _same_code("loss=huber", "loss = torch.nn.functional.huber_loss(prediction, target)")
DEFAULT_INITIALIZATION = _same_code(
    "model.initialization=pytorch", "layer.reset_parameters()  # for each layer, instead of another initialization"
)
OUR_NETWORK = How(("model=mlp",))
UNSCALED_NORMS = How(
    lightning=("monitor = gradclip.GradientMonitor()  # measures unscaled gradients",),
    torch=("scaler.unscale_(optimizer)  # before the norm is measured and clipped",),
)
NORMS_BEFORE_CLIPPING = How(
    lightning=("monitor = gradclip.GradientMonitor()  # logs grad/norm and grad/norm_clipped",),
    torch=("norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)  # returns the norm before clipping",),
    watch=("watch.record.norm  # the norm before clipping",),
)
